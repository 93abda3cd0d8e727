output "buckets" {
  description = "By purpose (archive, snapshots, logs): name and arn."
  value       = { for name, bucket in aws_s3_bucket.all : name => { name = bucket.bucket, arn = bucket.arn } }
}
