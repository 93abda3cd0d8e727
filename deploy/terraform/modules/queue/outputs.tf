output "queues" {
  description = "By class: name, url and arn of its queue, and of its dead letters."
  value = {
    for class in var.classes : class => {
      name      = aws_sqs_queue.trials[class].name
      url       = aws_sqs_queue.trials[class].url
      arn       = aws_sqs_queue.trials[class].arn
      dead_name = aws_sqs_queue.dead[class].name
      dead_arn  = aws_sqs_queue.dead[class].arn
    }
  }
}

output "visibility_s" {
  description = "The workers' OPTML_VISIBILITY_S must be this."
  value       = var.visibility_s
}

output "prefix" {
  description = "The workers' OPTML_SQS_QUEUE_PREFIX must be this."
  value       = var.prefix
}
