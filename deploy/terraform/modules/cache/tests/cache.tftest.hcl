mock_provider "aws" {}

variables {
  name               = "optml"
  enabled            = true
  subnet_ids         = ["subnet-a", "subnet-b"]
  security_group_id  = "sg-cache"
  kms_key_arn        = "arn:aws:kms:eu-central-1:111122223333:key/data"
  password_parameter = "/optml/store-password"
}

run "encrypted_and_copied" {
  command = plan

  override_data {
    target = data.aws_ssm_parameter.password[0]
    values = { value = "a-password-of-tests" }
  }

  assert {
    condition     = alltrue([for group in aws_elasticache_replication_group.store : group.at_rest_encryption_enabled && group.transit_encryption_enabled && group.transit_encryption_mode == "required" && group.auth_token == "a-password-of-tests"])
    error_message = "TLS is required, the password too, and data is encrypted at rest."
  }

  assert {
    condition     = aws_elasticache_replication_group.store[0].num_cache_clusters == 2 && aws_elasticache_replication_group.store[0].automatic_failover_enabled && aws_elasticache_replication_group.store[0].multi_az_enabled
    error_message = "A copy in another zone takes over."
  }

  assert {
    condition     = one(aws_elasticache_parameter_group.store[0].parameter) == { name = "maxmemory-policy", value = "noeviction" }
    error_message = "A full store refuses."
  }
}

run "inside_of_the_cluster" {
  variables {
    enabled = false
  }

  assert {
    condition     = output.endpoint == "" && length(aws_elasticache_replication_group.store) == 0
    error_message = "Nothing is made."
  }
}

run "no_copy" {
  command = plan

  variables {
    replicas = 0
  }

  expect_failures = [var.replicas]
}
