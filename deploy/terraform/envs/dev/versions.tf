terraform {
  required_version = ">= 1.11, < 2.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25.0"
    }
  }
}

provider "aws" {
  region = var.region
  # A shell with another account's credentials changes nothing there.
  allowed_account_ids = [var.account_id]

  default_tags {
    tags = { optml-cluster = local.name }
  }
}
