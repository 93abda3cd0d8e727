output "repositories" {
  description = "By image: url and arn of its repository."
  value       = { for image, repository in aws_ecr_repository.images : image => { url = repository.repository_url, arn = repository.arn } }
}
