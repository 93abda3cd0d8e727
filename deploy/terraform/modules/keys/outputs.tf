output "data_arn" {
  description = "The key of data at rest."
  value       = aws_kms_key.data.arn
}

output "join_arn" {
  description = "The key of join secrets."
  value       = aws_kms_key.join.arn
}
