mock_provider "aws" {
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-central-1:111122223333:optml-alarms" }
  }
}

variables {
  name               = "optml"
  kms_key_arn        = "arn:aws:kms:eu-central-1:111122223333:key/data"
  email              = "team@example.org"
  monthly_budget_usd = 500
  queues             = { gpu = { name = "optml-gpu", dead_name = "optml-gpu-dead" } }
  api_balancer       = { load_balancer = "net/optml-api/1", target_group = "targetgroup/optml-api/1" }
}

run "somebody_is_told" {
  assert {
    condition     = aws_cloudwatch_metric_alarm.dead_letters["gpu"].dimensions == tomap({ QueueName = "optml-gpu-dead" }) && aws_cloudwatch_metric_alarm.dead_letters["gpu"].threshold == 0
    error_message = "Of the first dead letter."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.oldest_message["gpu"].dimensions == tomap({ QueueName = "optml-gpu" }) && aws_cloudwatch_metric_alarm.oldest_message["gpu"].metric_name == "ApproximateAgeOfOldestMessage"
    error_message = "Of trials that wait for long."
  }

  assert {
    condition     = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.dead_letters), values(aws_cloudwatch_metric_alarm.oldest_message), [aws_cloudwatch_metric_alarm.control_plane]) : contains(alarm.alarm_actions, aws_sns_topic.alarms.arn)])
    error_message = "Every alarm goes to the topic."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.control_plane.treat_missing_data == "breaching"
    error_message = "Silence of the control plane is an alarm."
  }

  assert {
    condition     = aws_sns_topic.alarms.kms_master_key_id == var.kms_key_arn
    error_message = "Alarms are encrypted at rest."
  }
}

run "the_budget_counts_this_cluster" {
  assert {
    condition     = aws_budgets_budget.monthly.limit_amount == "500" && one(one(aws_budgets_budget.monthly.cost_filter).values) == "user:optml-cluster$optml"
    error_message = "What carries the cluster's tag, against its budget."
  }

  assert {
    condition     = toset([for notice in aws_budgets_budget.monthly.notification : "${notice.notification_type} ${notice.threshold}"]) == toset(["ACTUAL 80", "FORECASTED 100"])
    error_message = "Told before the money is gone."
  }
}

run "no_budget" {
  command = plan

  variables {
    monthly_budget_usd = 0
  }

  expect_failures = [var.monthly_budget_usd]
}
