mock_provider "aws" {}

variables {
  name       = "optml"
  account_id = "111122223333"
}

run "keys_rotate_and_leave_slowly" {
  assert {
    condition     = alltrue([for key in [aws_kms_key.data, aws_kms_key.join] : key.enable_key_rotation && key.deletion_window_in_days == 30])
    error_message = "Both keys rotate, and can be had back for 30 days."
  }

  assert {
    condition     = [for statement in jsondecode(aws_kms_key.join.policy).Statement : statement.Sid] == ["GovernedByTheAccountsRoles"]
    error_message = "No service may use the key of join secrets by itself."
  }
}

run "no_account" {
  command = plan

  variables {
    account_id = "me"
  }

  expect_failures = [var.account_id]
}
