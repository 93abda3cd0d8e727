locals {
  # The package takes from "optml-<class>", whatever the prefix (optml_queue/broker.py).
  names = { for class in var.classes : class => "${var.prefix}optml-${class}" }
}

resource "aws_sqs_queue" "trials" {
  for_each = local.names

  name                       = each.value
  visibility_timeout_seconds = var.visibility_s
  receive_wait_time_seconds  = 20
  # The longest that SQS allows: a paused experiment may leave messages behind for days.
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead[each.key].arn
    maxReceiveCount     = var.max_receive_count
  })
}

resource "aws_sqs_queue" "dead" {
  for_each = local.names

  name                      = "${each.value}-dead"
  receive_wait_time_seconds = 20
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

# Apart from the queue, which would otherwise wait for a queue that waits for it.
resource "aws_sqs_queue_redrive_allow_policy" "dead" {
  for_each = local.names

  queue_url = aws_sqs_queue.dead[each.key].url
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.trials[each.key].arn]
  })
}

# Who may use the queue is said by the roles of module iam; here only how: over TLS.
resource "aws_sqs_queue_policy" "tls_only" {
  for_each = merge(
    { for class in var.classes : class => aws_sqs_queue.trials[class] },
    { for class in var.classes : "${class}-dead" => aws_sqs_queue.dead[class] },
  )

  queue_url = each.value.url
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OnlyOverTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = each.value.arn
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}
