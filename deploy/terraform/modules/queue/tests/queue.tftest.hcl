mock_provider "aws" {}

# Two queues must differ in more than their names for a wrong redrive to show.
override_resource {
  target = aws_sqs_queue.trials["cpu-small"]
  values = { arn = "arn:aws:sqs:eu-central-1:111122223333:optml-cpu-small", url = "https://sqs.test/optml-cpu-small" }
}

override_resource {
  target = aws_sqs_queue.dead["cpu-small"]
  values = { arn = "arn:aws:sqs:eu-central-1:111122223333:optml-cpu-small-dead", url = "https://sqs.test/optml-cpu-small-dead" }
}

override_resource {
  target = aws_sqs_queue.trials["gpu"]
  values = { arn = "arn:aws:sqs:eu-central-1:111122223333:optml-gpu", url = "https://sqs.test/optml-gpu" }
}

override_resource {
  target = aws_sqs_queue.dead["gpu"]
  values = { arn = "arn:aws:sqs:eu-central-1:111122223333:optml-gpu-dead", url = "https://sqs.test/optml-gpu-dead" }
}

variables {
  classes      = ["cpu-small", "gpu"]
  visibility_s = 60
}

run "every_class_has_its_queue_and_its_dead_letters" {
  assert {
    condition     = { for class, queue in output.queues : class => [queue.name, queue.dead_name] } == { cpu-small = ["optml-cpu-small", "optml-cpu-small-dead"], gpu = ["optml-gpu", "optml-gpu-dead"] }
    error_message = "The names are those that the package takes from."
  }

  assert {
    condition = alltrue([for class in var.classes :
      jsondecode(aws_sqs_queue.trials[class].redrive_policy) == { deadLetterTargetArn = aws_sqs_queue.dead[class].arn, maxReceiveCount = 5 }
    ])
    error_message = "A queue's dead letters go to the class's own."
  }

  assert {
    condition = alltrue([for class in var.classes :
      jsondecode(aws_sqs_queue_redrive_allow_policy.dead[class].redrive_allow_policy).sourceQueueArns == [aws_sqs_queue.trials[class].arn]
      && aws_sqs_queue_redrive_allow_policy.dead[class].queue_url == aws_sqs_queue.dead[class].url
    ])
    error_message = "Dead letters are taken from the class's own queue alone."
  }

  assert {
    condition     = alltrue([for queue in aws_sqs_queue.trials : queue.visibility_timeout_seconds == 60 && queue.receive_wait_time_seconds == 20])
    error_message = "Visibility is the shared variable's, and an empty queue is polled for 20 s."
  }

  assert {
    condition     = alltrue([for queue in aws_sqs_queue.dead : queue.message_retention_seconds == 14 * 24 * 3600])
    error_message = "Dead letters are kept for 14 days."
  }

  assert {
    condition     = alltrue([for queue in concat(values(aws_sqs_queue.trials), values(aws_sqs_queue.dead)) : queue.sqs_managed_sse_enabled])
    error_message = "Every queue is encrypted at rest."
  }

  assert {
    condition = length(aws_sqs_queue_policy.tls_only) == 4 && alltrue([for policy in aws_sqs_queue_policy.tls_only :
      jsondecode(policy.policy).Statement[0].Effect == "Deny"
      && jsondecode(policy.policy).Statement[0].Condition == { Bool = { "aws:SecureTransport" = "false" } }
    ])
    error_message = "Every queue, of dead letters too, refuses what does not come over TLS."
  }
}

run "a_prefix_comes_before_the_name" {
  command = plan

  variables {
    prefix = "team-a_"
  }

  assert {
    condition     = aws_sqs_queue.trials["gpu"].name == "team-a_optml-gpu" && aws_sqs_queue.dead["gpu"].name == "team-a_optml-gpu-dead"
    error_message = "OPTML_SQS_QUEUE_PREFIX stands before the whole name."
  }
}

run "a_class_that_the_package_would_refuse" {
  command = plan

  variables {
    classes = ["GPU"]
  }

  expect_failures = [var.classes]
}

run "a_class_named_as_dead_letters" {
  command = plan

  variables {
    classes = ["gpu", "gpu-dead"]
  }

  expect_failures = [var.classes]
}

run "half_a_second_of_visibility" {
  command = plan

  variables {
    visibility_s = 0.5
  }

  expect_failures = [var.visibility_s]
}
