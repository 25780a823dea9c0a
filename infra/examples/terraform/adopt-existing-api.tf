# API keys that exist already, and what is declared of them before and after adoption.
#
# `rotator adopt` takes an API key that is in use under management: it makes the secret, with the key's present value in
# it, tags it and schedules it. The value never passes through a configuration. So the secret is not declared here; what
# is declared is the log by which its users are known, the schedule, and the role of who reads it.
#
# 1. Let go of the keys. What still has one in its state would undo a rotation. In the configuration that has the API
#    today, put these in place of the two resources, and apply; the keys go on working. API, stage and usage plans stay
#    where they are.
#
#      removed {
#        from = aws_api_gateway_api_key.partner
#        lifecycle { destroy = false }
#      }
#      removed {
#        from = aws_api_gateway_usage_plan_key.partner
#        lifecycle { destroy = false }
#      }
#
#    A tag on the key that names Terraform must go as well: by it, adoption takes the key for one that is still owned.
#
# 2. Apply this file with adopted_secret empty, and give the API's stage its access log. The key's id belongs into it,
#    and never $context.identity.apiKey, which is the key.
#
#      access_log_settings {
#        destination_arn = aws_cloudwatch_log_group.partners.arn
#        format          = local.access_log_format
#      }
#
# 3. Adopt: first without --yes, which shows what would be done.
#
#      rotator adopt --prefix partner- --probe a1b2c3d4e5/prod/ping --tag access-log=/apis/partners --yes
#
# 4. Let the client read the secret that adoption named, then apply again with that name as adopted_secret. From here on
#    its schedule is in a configuration.

variable "access_log_name" {
  description = "The log group of the API's access log, for the tag rotator:access-log. The rotator stack must let retirement read log groups of such names."
  type        = string
  default     = "/apis/partners"

  validation {
    condition     = can(regex("^[A-Za-z0-9/_.#-]{1,256}$", var.access_log_name))
    error_message = "access_log_name has letters, digits and / _ . # - only."
  }
}

variable "access_log_key_arn" {
  description = "A key of yours that encrypts the access log; its policy must let CloudWatch Logs use it. Null: CloudWatch Logs encrypts it with a key of its own."
  type        = string
  default     = null
}

variable "adopted_schedule" {
  description = "When it rotates, in UTC, by default on the first of each month at 08:00. A cron() says when; a rate() counts from the last rotation, and one that was changed may still fire by its old count."
  type        = string
  default     = "cron(0 8 1 * ? *)"

  validation {
    condition     = can(regex("^cron\\(0 (([01]?[0-9]|2[0-3])|[*0]?/([4-9]|1[0-9]|2[0-3])) ([^ ]+ ){3}[^ ]+\\)$", var.adopted_schedule))
    error_message = "adopted_schedule is cron(0 HOUR DAY MONTH WEEKDAY YEAR), at full hours that are at least four hours apart."
  }
}

variable "adopted_secret" {
  description = "The secret that rotator adopt made, as in api-keys/partner-acme. Null before the adoption."
  type        = string
  default     = null
}

locals {
  access_log_format = jsonencode({
    apiKeyId   = "$context.identity.apiKeyId"
    ip         = "$context.identity.sourceIp"
    userAgent  = "$context.identity.userAgent"
    httpMethod = "$context.httpMethod"
    path       = "$context.path"
    status     = "$context.status"
  })

  adopted = var.adopted_secret == null ? [] : [var.adopted_secret]
}

resource "aws_cloudwatch_log_group" "partners" {
  #checkov:skip=CKV_AWS_158:access_log_key_arn names a key of yours; without one CloudWatch Logs encrypts it all the same
  #checkov:skip=CKV_AWS_338:It has addresses of callers, which are personal data and are needed for as long as an overlap lasts
  name = var.access_log_name
  # As long as the longest overlap and ceiling together, so that no caller is forgotten meanwhile.
  retention_in_days = 60
  kms_key_id        = var.access_log_key_arn
  # While an old key is in its overlap, this is what tells who still uses it.
  skip_destroy = true
}

data "aws_secretsmanager_secret" "adopted" {
  for_each = toset(local.adopted)

  name = each.value
}

resource "aws_secretsmanager_secret_rotation" "adopted" {
  for_each = data.aws_secretsmanager_secret.adopted

  secret_id           = each.value.arn
  rotation_lambda_arn = var.rotation_function_arn

  # The default is true: to write down a schedule would rotate a key that a partner uses, at the hour of an apply. Here
  # the key exists. False has Secrets Manager test the configuration alone, by the step testSecret.
  rotate_immediately = false

  rotation_rules {
    schedule_expression = var.adopted_schedule
  }

  lifecycle {
    # To destroy this is to cancel the rotation of a key that somebody uses.
    prevent_destroy = true
  }
}

resource "aws_iam_role" "adopted_reader" {
  for_each = data.aws_secretsmanager_secret.adopted

  name_prefix          = "reader-"
  description          = "Reads ${each.key}"
  assume_role_policy   = data.aws_iam_policy_document.readers_trust.json
  permissions_boundary = var.permissions_boundary
}

# AWSPENDING is a key that is not proved yet, and an old carrier one that may be refused: neither is a consumer's.
data "aws_iam_policy_document" "adopted_reader" {
  for_each = data.aws_secretsmanager_secret.adopted

  statement {
    sid       = "TheKeyAndItsPredecessor"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [each.value.arn]

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
    resources = [each.value.arn]

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
}

resource "aws_iam_role_policy" "adopted_reader" {
  for_each = aws_iam_role.adopted_reader

  name   = "secret"
  role   = each.value.id
  policy = data.aws_iam_policy_document.adopted_reader[each.key].json
}

output "access_log_arn" {
  description = "For access_log_settings of the API's stage"
  value       = aws_cloudwatch_log_group.partners.arn
}
