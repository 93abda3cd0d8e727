mock_provider "aws" {}

variables {
  name        = "optml"
  kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/data"
}

run "a_pushed_image_is_scanned_sealed_and_final" {
  assert {
    condition     = toset([for repository in aws_ecr_repository.images : repository.name]) == toset(["optml/worker", "optml/api"])
    error_message = "A repository for each image."
  }

  assert {
    condition     = alltrue([for repository in aws_ecr_repository.images : repository.image_tag_mutability == "IMMUTABLE" && one(repository.image_scanning_configuration).scan_on_push && one(repository.encryption_configuration).encryption_type == "KMS"])
    error_message = "Tags never move, images are scanned and encrypted."
  }

  assert {
    condition     = alltrue([for policy in aws_ecr_lifecycle_policy.untagged : jsondecode(policy.policy).rules[0].selection.tagStatus == "untagged"])
    error_message = "No image with a tag is ever removed."
  }
}
