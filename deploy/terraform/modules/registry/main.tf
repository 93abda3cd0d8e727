resource "aws_ecr_repository" "images" {
  for_each = var.images

  name                 = "${var.name}/${each.key}"
  image_tag_mutability = "IMMUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = var.kms_key_arn
  }
}

# Running pods pull by tag, so tagged images stay; what lost its tag or never had one goes.
resource "aws_ecr_lifecycle_policy" "untagged" {
  for_each = var.images

  repository = aws_ecr_repository.images[each.key].name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Untagged images, after two weeks"
      selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 14 }
      action       = { type = "expire" }
    }]
  })
}
