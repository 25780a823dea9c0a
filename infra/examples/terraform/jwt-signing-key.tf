# A key that signs JSON Web Tokens, and the role that signs with it. The rotator stack must have been deployed with
# Edge=public: without a place to publish it, a signing key is refused.
#
# The KMS keys are not here, and neither is an alias for them. Every rotation makes a key, publishes it a day before it
# signs, and deletes the one before last; what declared one (aws_kms_key, aws_kms_alias) would keep a key that must go,
# or move the alias back. The value of the secret names the key that signs now, by its ARN.

variable "issuer_secret_name" {
  description = "The credential's name, and for good: it is part of the issuer in every token. It must begin with the rotator stack's SecretPrefix, if that is set."
  type        = string
  default     = "orders/issuer"

  validation {
    condition     = can(regex("^([A-Za-z0-9_+=.@-]+/)*[A-Za-z0-9_+=.@-]+$", var.issuer_secret_name))
    error_message = "issuer_secret_name has letters, digits and _ + = . @ - with slashes between them."
  }
}

variable "issuer_key_in" {
  description = "kms: the private key never leaves KMS, and the signer calls KMS for every token. secrets-manager: the signer reads the private key; a copy of it goes on signing whatever becomes of the key."
  type        = string
  default     = "kms"

  validation {
    condition     = contains(["kms", "secrets-manager"], var.issuer_key_in)
    error_message = "issuer_key_in is kms or secrets-manager."
  }
}

variable "issuer_algorithm" {
  description = "What tokens are signed with. API Gateway's JWT authorizer and Application Load Balancer take RS256 only. A later change takes two rotations to arrive."
  type        = string
  default     = "ES256"

  validation {
    condition     = contains(["ES256", "ES384", "EdDSA", "RS256", "PS256"], var.issuer_algorithm)
    error_message = "issuer_algorithm is ES256, ES384, EdDSA, RS256 or PS256."
  }
}

variable "issuer_schedule" {
  description = "When it rotates, in UTC, by default on the first of each month at 08:00. A cron() says when; a rate() counts from the last rotation, and one that was changed may still fire by its old count."
  type        = string
  default     = "cron(0 8 1 * ? *)"

  validation {
    condition     = can(regex("^cron\\(0 (([01]?[0-9]|2[0-3])|[*0]?/([4-9]|1[0-9]|2[0-3])) ([^ ]+ ){3}[^ ]+\\)$", var.issuer_schedule))
    error_message = "issuer_schedule is cron(0 HOUR DAY MONTH WEEKDAY YEAR), at full hours that are at least four hours apart."
  }
}

variable "issuer_first_key_is_made" {
  description = "False: rotate at once, because there is no key yet. Set it to true once there is one, so that later changes rotate nothing."
  type        = bool
  default     = false
}

locals {
  issuer_tags = {
    "rotator:kind"      = var.issuer_key_in == "kms" ? "kms-signing-key" : "jwt-signing-key"
    "rotator:algorithm" = var.issuer_algorithm
    # How long anybody may go on with what they have read. The overlap is the sum of these, reckoned, not written.
    "rotator:consumer-cache" = "PT1H"
    "rotator:token-life"     = "PT1H"
    "rotator:verifier-cache" = "PT2H"
    "rotator:max-age"        = "P60D"
  }

  # Each new KMS key's policy lets this role sign, so its own policy needs no kms:Sign. The other kind has no key to let
  # anybody into, and refuses a tag that it does not know.
  issuer_signers = var.issuer_key_in == "kms" ? { "rotator:signers" = aws_iam_role.signer.arn } : {}
}

resource "aws_iam_role" "signer" {
  name_prefix          = "signer-"
  description          = "Signs tokens of ${var.issuer_secret_name}"
  assume_role_policy   = data.aws_iam_policy_document.readers_trust.json
  permissions_boundary = var.permissions_boundary
}

resource "aws_secretsmanager_secret" "issuer" {
  #checkov:skip=CKV2_AWS_57:It rotates, see aws_secretsmanager_secret_rotation.issuer
  name        = var.issuer_secret_name
  description = "The key that signs tokens, rotated by rotator"
  kms_key_id  = var.encryption_key_arn
  tags        = merge(local.issuer_tags, local.issuer_signers)

  lifecycle {
    # Verifiers trust its keys, and the name is the issuer of every token.
    prevent_destroy = true
  }
}

# A constant, written once: see customer-api-key.tf for what becomes of it after a hundred versions.
resource "aws_secretsmanager_secret_version" "issuer" {
  secret_id     = aws_secretsmanager_secret.issuer.id
  secret_string = "{}"

  lifecycle {
    ignore_changes = [secret_string, version_stages]
  }
}

resource "aws_secretsmanager_secret_rotation" "issuer" {
  secret_id           = aws_secretsmanager_secret.issuer.id
  rotation_lambda_arn = var.rotation_function_arn

  # The default is true: every change of the rules would rotate the key, at the hour of an apply. True is right once
  # only, for a secret without a key: until its first rotation there is nothing to sign with.
  rotate_immediately = !var.issuer_first_key_is_made

  rotation_rules {
    schedule_expression = var.issuer_schedule
  }

  # KMS refuses a key policy that names a role which is not there yet.
  depends_on = [aws_secretsmanager_secret_version.issuer, aws_iam_role_policy.signer]
}

# AWSPENDING names a key that does not sign yet. What a standby of the other kind rests in (rotator-standby/...) is no
# consumer's at all.
data "aws_iam_policy_document" "signer" {
  statement {
    sid       = "TheKeyAndItsPredecessor"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.issuer.arn]

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
    resources = [aws_secretsmanager_secret.issuer.arn]

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
      values   = [aws_secretsmanager_secret.issuer.arn]
    }
  }
}

resource "aws_iam_role_policy" "signer" {
  name   = "secret"
  role   = aws_iam_role.signer.id
  policy = data.aws_iam_policy_document.signer.json
}

output "signer_role_arn" {
  description = "What the signer runs as"
  value       = aws_iam_role.signer.arn
}
