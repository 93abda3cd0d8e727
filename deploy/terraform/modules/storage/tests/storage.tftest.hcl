mock_provider "aws" {}

variables {
  bucket_prefix = "optml-111122223333"
  account_id    = "111122223333"
  kms_key_arn   = "arn:aws:kms:eu-central-1:111122223333:key/data"
}

# `prevent_destroy` would refuse the end of a test that had applied: everything here is only planned.
run "nothing_is_public_or_plain" {
  command = plan

  assert {
    condition     = alltrue([for block in aws_s3_bucket_public_access_block.all : block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets])
    error_message = "All four locks against the public."
  }

  assert {
    condition     = { for name, rules in aws_s3_bucket_server_side_encryption_configuration.all : name => one(one(rules.rule).apply_server_side_encryption_by_default).sse_algorithm } == { archive = "aws:kms", snapshots = "aws:kms", logs = "AES256" }
    error_message = "Archive and snapshots are encrypted with our key."
  }

  assert {
    condition     = alltrue([for versioning in aws_s3_bucket_versioning.all : one(versioning.versioning_configuration).status == "Enabled"])
    error_message = "An overwritten object can be had back."
  }

  assert {
    condition     = toset(keys(aws_s3_bucket_logging.all)) == toset(["archive", "snapshots"])
    error_message = "Who read archive and snapshots is known."
  }

  assert {
    condition     = toset(keys(aws_s3_bucket_policy.all)) == toset(keys(aws_s3_bucket.all))
    error_message = "Every bucket refuses what does not come over TLS."
  }
}

run "results_never_expire" {
  command = plan

  assert {
    condition     = { for name, rules in aws_s3_bucket_lifecycle_configuration.all : name => [for expiry in one(rules.rule).expiration : expiry.days] } == { archive = [], snapshots = [30], logs = [90] }
    error_message = "Snapshots and logs go; the archive stays."
  }
}

run "snapshots_for_a_day" {
  command = plan

  variables {
    snapshot_days = 1
  }

  expect_failures = [var.snapshot_days]
}
