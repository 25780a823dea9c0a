# A webhook secret that its sender and its receiver read. During the overlap its value names two: the sender signs with
# both, and the receiver accepts either, so it does not matter who reads the new value first.

variable "webhook_secret_name" {
  description = "The credential's name, and for good. It must begin with the rotator stack's SecretPrefix, if that is set."
  type        = string
  default     = "hooks/acme"

  validation {
    condition     = can(regex("^([A-Za-z0-9_+=.@-]+/)*[A-Za-z0-9_+=.@-]+$", var.webhook_secret_name))
    error_message = "webhook_secret_name has letters, digits and _ + = . @ - with slashes between them."
  }
}

variable "webhook_schedule" {
  description = "When it rotates, in UTC, by default on the first day of each quarter at 08:00. A cron() says when; a rate() counts from the last rotation, and one that was changed may still fire by its old count."
  type        = string
  default     = "cron(0 8 1 1,4,7,10 ? *)"

  validation {
    condition     = can(regex("^cron\\(0 (([01]?[0-9]|2[0-3])|[*0]?/([4-9]|1[0-9]|2[0-3])) ([^ ]+ ){3}[^ ]+\\)$", var.webhook_schedule))
    error_message = "webhook_schedule is cron(0 HOUR DAY MONTH WEEKDAY YEAR), at full hours that are at least four hours apart."
  }
}

variable "webhook_first_key_is_made" {
  description = "False: rotate at once, because there is no secret to sign with yet. Set it to true once there is one, so that later changes rotate nothing."
  type        = bool
  default     = false
}

resource "aws_secretsmanager_secret" "webhook" {
  #checkov:skip=CKV2_AWS_57:It rotates, see aws_secretsmanager_secret_rotation.webhook
  name        = var.webhook_secret_name
  description = "A webhook secret, rotated by rotator"
  kms_key_id  = var.encryption_key_arn

  tags = {
    "rotator:kind" = "webhook-secret"
    # A receiver who can't read the secret must be given each new one within this time.
    "rotator:overlap"        = "P14D"
    "rotator:consumer-cache" = "PT1H"
    "rotator:max-age"        = "P120D"
    # rotator:algorithm = HS256, HS384 or HS512 makes it a JSON Web Key; without the tag it has the form of Standard
    # Webhooks, whsec_ and so on.
  }

  lifecycle {
    # Its receivers would refuse every message that is signed with another one.
    prevent_destroy = true
  }
}

# A constant, written once: see customer-api-key.tf for what becomes of it after a hundred versions.
resource "aws_secretsmanager_secret_version" "webhook" {
  secret_id     = aws_secretsmanager_secret.webhook.id
  secret_string = "{}"

  lifecycle {
    ignore_changes = [secret_string, version_stages]
  }
}

resource "aws_secretsmanager_secret_rotation" "webhook" {
  secret_id           = aws_secretsmanager_secret.webhook.id
  rotation_lambda_arn = var.rotation_function_arn

  # The default is true: every change of the rules would rotate, at the hour of an apply. True is right once only, for a
  # secret without a key: until its first rotation there is nothing to sign with.
  rotate_immediately = !var.webhook_first_key_is_made

  rotation_rules {
    schedule_expression = var.webhook_schedule
  }

  depends_on = [aws_secretsmanager_secret_version.webhook]
}

resource "aws_iam_role" "webhook" {
  for_each = toset(["sender", "receiver"])

  name_prefix          = "webhook-${each.key}-"
  description          = "The ${each.key} of messages that ${var.webhook_secret_name} signs"
  assume_role_policy   = data.aws_iam_policy_document.readers_trust.json
  permissions_boundary = var.permissions_boundary
}

# AWSPENDING is a secret that nobody signs with yet: neither the sender nor the receiver has any use for it.
data "aws_iam_policy_document" "webhook" {
  statement {
    sid       = "TheSecretAndItsPredecessor"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.webhook.arn]

    condition {
      test     = "ForAnyValue:StringEquals"
      variable = "secretsmanager:VersionStage"
      values   = ["AWSCURRENT", "AWSPREVIOUS"]
    }
  }

  # Who names neither a label nor a version is given AWSCURRENT. AWS does not say whether IAM is then told a label.
  statement {
    sid       = "TheSecretByDefault"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.webhook.arn]

    condition {
      test     = "Null"
      variable = "secretsmanager:VersionStage"
      values   = ["true"]
    }

    condition {
      test     = "Null"
      variable = "secretsmanager:VersionId"
      values   = ["true"]
    }
  }

  statement {
    sid       = "ItsEncryption"
    actions   = ["kms:Decrypt"]
    resources = [var.encryption_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["secretsmanager.${data.aws_region.current.name}.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:SecretARN"
      values   = [aws_secretsmanager_secret.webhook.arn]
    }
  }
}

resource "aws_iam_role_policy" "webhook" {
  for_each = aws_iam_role.webhook

  name   = "secret"
  role   = each.value.id
  policy = data.aws_iam_policy_document.webhook.json
}

output "webhook_role_arns" {
  description = "What the sender and the receiver run as"
  value       = { for who, role in aws_iam_role.webhook : who => role.arn }
}
