# What the examples beside this file share. Each of them needs this file and no other.

terraform {
  required_version = ">= 1.7"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.33"
    }
  }
}

variable "rotation_function_arn" {
  description = "The function that rotates, the output RotationFunctionArn of the rotator stack."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:function:[A-Za-z0-9_-]{1,64}$", var.rotation_function_arn))
    error_message = "rotation_function_arn is the ARN of a function, an output of the rotator stack."
  }
}

variable "encryption_key_arn" {
  description = "The KMS key of yours that encrypts the secrets. Its policy must leave to IAM who uses it, or let the rotator stack's roles and the readers use it through Secrets Manager."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.encryption_key_arn))
    error_message = "encryption_key_arn is the ARN of a KMS key, which ends in key/ and its id."
  }
}

variable "reader_service" {
  description = "Where clients, signers, senders and receivers run, and so who may take on the roles that read secrets."
  type        = string
  default     = "lambda.amazonaws.com"

  validation {
    condition     = contains(["ec2.amazonaws.com", "ecs-tasks.amazonaws.com", "lambda.amazonaws.com"], var.reader_service)
    error_message = "reader_service is ec2.amazonaws.com, ecs-tasks.amazonaws.com or lambda.amazonaws.com."
  }
}

variable "permissions_boundary" {
  description = "The ARN of the permissions boundary of every role, where your organisation asks for one."
  type        = string
  default     = null
}

# No default tags whose key or value names Terraform or OpenTofu: by such a tag `rotator doctor` knows what they own.
provider "aws" {}

data "aws_region" "current" {}

data "aws_iam_policy_document" "readers_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = [var.reader_service]
    }
  }
}
