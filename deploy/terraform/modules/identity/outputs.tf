output "issuer_url" {
  description = "What API servers write into tokens as their issuer."
  value       = "https://${aws_cloudfront_distribution.issuer.domain_name}"
}

output "bucket" {
  description = "Where the publisher writes the issuer's documents: name and arn."
  value       = { name = aws_s3_bucket.issuer.bucket, arn = aws_s3_bucket.issuer.arn }
}

output "roles" {
  description = "By pod: the role's arn, for AWS_ROLE_ARN beside a projected token."
  value       = { for name, role in aws_iam_role.pods : name => role.arn }
}
