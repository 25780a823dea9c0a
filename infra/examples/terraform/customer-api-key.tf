# A customer's API key, declared without ever holding its value: their usage plan, the secret that the key lives in,
# when it rotates, and the role that reads it. The API and its stage exist already; a method of that stage must need an
# API key.
#
# The API key itself is not here. Every rotation makes a new one, with another id, and deletes the old one; what
# declared it (aws_api_gateway_api_key, aws_api_gateway_usage_plan_key) would put the old one back, or delete the one in
# use.

variable "customer_secret_name" {
  description = "The credential's name, and for good. It must begin with the rotator stack's SecretPrefix, if that is set."
  type        = string
  default     = "partner/acme"

  validation {
    condition     = can(regex("^([A-Za-z0-9_+=.@-]+/)*[A-Za-z0-9_+=.@-]+$", var.customer_secret_name))
    error_message = "customer_secret_name has letters, digits and _ + = . @ - with slashes between them."
  }
}

variable "customer_api" {
  description = "The REST API that the key is for, the stage, and a path in it where each new key is tried, a GET that needs an API key. No path: every key is shown as unproven."
  type = object({
    id         = string
    stage      = string
    probe_path = optional(string)
  })

  validation {
    condition     = can(regex("^[a-z0-9]{8,12}$", var.customer_api.id))
    error_message = "customer_api.id is the id of a REST API, eight to twelve small letters and digits."
  }
}

variable "customer_schedule" {
  description = "When it rotates, in UTC, by default on the first of each month at 08:00. A cron() says when; a rate() counts from the last rotation, and one that was changed may still fire by its old count."
  type        = string
  default     = "cron(0 8 1 * ? *)"

  validation {
    condition     = can(regex("^cron\\(0 (([01]?[0-9]|2[0-3])|[*0]?/([4-9]|1[0-9]|2[0-3])) ([^ ]+ ){3}[^ ]+\\)$", var.customer_schedule))
    error_message = "customer_schedule is cron(0 HOUR DAY MONTH WEEKDAY YEAR), at full hours that are at least four hours apart."
  }
}

variable "customer_first_key_is_made" {
  description = "False: rotate at once, because there is no key yet. Set it to true once there is one, so that later changes rotate nothing."
  type        = bool
  default     = false
}

# The plan carries the tag rotator:allow: it, and not whoever tags the secret, says whose keys may join.
resource "aws_api_gateway_usage_plan" "customer" {
  name = replace(var.customer_secret_name, "/", "-")

  api_stages {
    api_id = var.customer_api.id
    stage  = var.customer_api.stage
  }

  throttle_settings {
    rate_limit  = 50
    burst_limit = 100
  }

  quota_settings {
    limit  = 1000000
    period = "MONTH"
  }

  tags = {
    "rotator:allow" = var.customer_secret_name
  }

  lifecycle {
    # A plan that is replaced takes its keys out of the API.
    prevent_destroy = true
  }
}

resource "aws_secretsmanager_secret" "customer" {
  #checkov:skip=CKV2_AWS_57:It rotates, see aws_secretsmanager_secret_rotation.customer
  name        = var.customer_secret_name
  description = "A customer's API key, rotated by rotator"
  kms_key_id  = var.encryption_key_arn

  tags = {
    "rotator:kind"        = "api-gateway-key"
    "rotator:usage-plans" = aws_api_gateway_usage_plan.customer.id
    "rotator:probe"       = var.customer_api.probe_path == null ? "none" : "${var.customer_api.id}/${var.customer_api.stage}/${var.customer_api.probe_path}"
    # A secret that holds a key in use, under another name than apiKey or as a plain string: "rotator:member" says which, or ".".
    # The customer has a week to read the new key; their client reads it again at least once an hour.
    "rotator:overlap"        = "P7D"
    "rotator:consumer-cache" = "PT1H"
    "rotator:max-age"        = "P60D"
  }

  lifecycle {
    # Without its secret a key can be neither rotated nor handed out, and it would still be accepted.
    prevent_destroy = true
  }
}

# A constant, written once. It names the version of the secret that it made, and that version stays an empty one, so no
# key ever comes into the state. Secrets Manager drops it when there are more than a hundred newer ones; a plan then
# wants to write the constant again, over the key. Let the resource be forgotten before that, or right after the first
# apply:
#
#   removed {
#     from = aws_secretsmanager_secret_version.customer
#     lifecycle { destroy = false }
#   }
resource "aws_secretsmanager_secret_version" "customer" {
  secret_id     = aws_secretsmanager_secret.customer.id
  secret_string = "{}"

  lifecycle {
    ignore_changes = [secret_string, version_stages]
  }
}

resource "aws_secretsmanager_secret_rotation" "customer" {
  secret_id           = aws_secretsmanager_secret.customer.id
  rotation_lambda_arn = var.rotation_function_arn

  # The default is true: every change of the rules would rotate the key, at the hour of an apply. True is right once
  # only, for a secret without a key: until its first rotation there is nothing to read.
  rotate_immediately = !var.customer_first_key_is_made

  rotation_rules {
    schedule_expression = var.customer_schedule
  }

  depends_on = [aws_secretsmanager_secret_version.customer]
}

resource "aws_iam_role" "customer_reader" {
  name_prefix          = "reader-"
  description          = "Reads ${var.customer_secret_name}"
  assume_role_policy   = data.aws_iam_policy_document.readers_trust.json
  permissions_boundary = var.permissions_boundary
}

# AWSPENDING is a key that is not proved yet, and an old carrier one that may be refused: neither is a consumer's.
data "aws_iam_policy_document" "customer_reader" {
  statement {
    sid       = "TheKeyAndItsPredecessor"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.customer.arn]

    condition {
      test     = "ForAnyValue:StringEquals"
      variable = "secretsmanager:VersionStage"
      values   = ["AWSCURRENT", "AWSPREVIOUS"]
    }
  }

  # Who names neither a label nor a version is given AWSCURRENT. AWS does not say whether IAM is then told a label.
  statement {
    sid       = "TheKeyByDefault"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.customer.arn]

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
      values   = [aws_secretsmanager_secret.customer.arn]
    }
  }
}

resource "aws_iam_role_policy" "customer_reader" {
  name   = "secret"
  role   = aws_iam_role.customer_reader.id
  policy = data.aws_iam_policy_document.customer_reader.json
}

output "customer_reader_role_arn" {
  description = "What the client runs as"
  value       = aws_iam_role.customer_reader.arn
}
