mock_provider "aws" {}

variables {
  name                = "optml"
  region              = "eu-central-1"
  account_id          = "111122223333"
  join_key_arn        = "arn:aws:kms:eu-central-1:111122223333:key/join"
  data_key_arn        = "arn:aws:kms:eu-central-1:111122223333:key/data"
  election_table_arn  = "arn:aws:dynamodb:eu-central-1:111122223333:table/optml-election"
  snapshot_bucket_arn = "arn:aws:s3:::optml-snapshots"
  issuer_bucket_arn   = "arn:aws:s3:::optml-issuer"
  repository_arns     = ["arn:aws:ecr:eu-central-1:111122223333:repository/optml/worker"]
}

run "no_star_without_a_reason" {
  command = plan

  assert {
    condition     = alltrue([for policy in aws_iam_role_policy.nodes : alltrue([for statement in jsondecode(policy.policy).Statement : alltrue([for action in flatten([statement.Action]) : !strcontains(action, "*")])])])
    error_message = "No action is a pattern."
  }

  assert {
    condition     = toset(flatten([for policy in aws_iam_role_policy.nodes : [for statement in jsondecode(policy.policy).Statement : statement.Sid if contains(flatten([statement.Resource]), "*")]])) == toset(["Sessions", "LogInToRegistry", "SeeMachines"])
    error_message = "Only actions that know no resource have none named."
  }
}

run "a_worker_reads_one_parameter" {
  command = plan

  assert {
    condition     = flatten([for statement in jsondecode(aws_iam_role_policy.nodes["workers"].policy).Statement : flatten([statement.Resource]) if anytrue([for action in flatten([statement.Action]) : startswith(action, "ssm:GetParameter")])]) == ["arn:aws:ssm:eu-central-1:111122223333:parameter/optml/join"]
    error_message = "Exactly the parameter of the join secret."
  }

  assert {
    condition     = [for statement in jsondecode(aws_iam_role_policy.nodes["workers"].policy).Statement : statement.Condition.StringEquals["kms:EncryptionContext:PARAMETER_ARN"] if statement.Action == "kms:Decrypt"] == ["arn:aws:ssm:eu-central-1:111122223333:parameter/optml/join"]
    error_message = "And its key opens no other."
  }

  assert {
    condition     = !anytrue([for statement in jsondecode(aws_iam_role_policy.nodes["workers"].policy).Statement : anytrue([for action in flatten([statement.Action]) : can(regex("Put|Delete|Update|^sqs|^s3", action)) && action != "ssm:UpdateInstanceInformation"])])
    error_message = "A worker node writes nothing, and has no right to queue or archive: those are pods' roles."
  }
}

run "snapshots_are_written_never_read" {
  command = plan

  assert {
    condition     = toset(flatten([for statement in jsondecode(aws_iam_role_policy.nodes["control_plane"].policy).Statement : statement.Action if strcontains(jsonencode(statement.Resource), "optml-snapshots")])) == toset(["s3:PutObject"])
    error_message = "A control-plane node adds snapshots and does nothing else to them."
  }
}
