# What nodes ask of AWS stays inside of AWS, and costs no NAT traffic.

resource "aws_vpc_endpoint" "gateway" {
  for_each = toset(["s3", "dynamodb"])

  vpc_id            = aws_vpc.cluster.id
  service_name      = "com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [for table in aws_route_table.private : table.id]
}

resource "aws_vpc_endpoint" "interface" {
  for_each = toset(["sqs", "ecr.api", "ecr.dkr", "ssm", "ssmmessages", "ec2messages", "sts", "kms", "ec2"])

  vpc_id              = aws_vpc.cluster.id
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = [for subnet in aws_subnet.private : subnet.id]
  security_group_ids  = [aws_security_group.members["endpoints"].id]
}
