output "topic_arn" {
  description = "Where alarms go; subscribe a pager here."
  value       = aws_sns_topic.alarms.arn
}
