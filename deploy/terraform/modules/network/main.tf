locals {
  zones = { for index, zone in var.zones : zone => index }
  # Where traffic leaves from: each zone's own gateway, or the first zone's for all.
  gateways = { for zone in var.zones : zone => var.nat_per_zone ? zone : var.zones[0] }
}

resource "aws_vpc" "cluster" {
  cidr_block           = var.cidr
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = { Name = var.name }
}

# Nothing may use the group that every network comes with.
resource "aws_default_security_group" "unused" {
  vpc_id = aws_vpc.cluster.id
}

resource "aws_flow_log" "rejected" {
  vpc_id               = aws_vpc.cluster.id
  traffic_type         = "REJECT"
  log_destination_type = "s3"
  log_destination      = "${var.log_bucket_arn}/flow"
}

# Nodes live here; nothing outside of the network can open a connection to them.
resource "aws_subnet" "private" {
  for_each = local.zones

  vpc_id                  = aws_vpc.cluster.id
  availability_zone       = each.key
  cidr_block              = cidrsubnet(var.cidr, 4, each.value)
  map_public_ip_on_launch = false
  tags                    = { Name = "${var.name}-private-${each.key}" }
}

# Only NAT gateways and the edge's load balancer live here.
resource "aws_subnet" "public" {
  for_each = local.zones

  vpc_id                  = aws_vpc.cluster.id
  availability_zone       = each.key
  cidr_block              = cidrsubnet(var.cidr, 8, 240 + each.value)
  map_public_ip_on_launch = false
  tags                    = { Name = "${var.name}-public-${each.key}" }
}

resource "aws_internet_gateway" "out" {
  vpc_id = aws_vpc.cluster.id
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.cluster.id

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.out.id
  }
}

resource "aws_route_table_association" "public" {
  for_each = local.zones

  subnet_id      = aws_subnet.public[each.key].id
  route_table_id = aws_route_table.public.id
}

resource "aws_eip" "nat" {
  # checkov:skip=CKV2_AWS_19: the address belongs to a NAT gateway, not to an instance
  for_each = toset(values(local.gateways))

  domain = "vpc"
}

resource "aws_nat_gateway" "out" {
  for_each = toset(values(local.gateways))

  allocation_id = aws_eip.nat[each.key].id
  subnet_id     = aws_subnet.public[each.key].id
  depends_on    = [aws_internet_gateway.out]
}

resource "aws_route_table" "private" {
  for_each = local.zones

  vpc_id = aws_vpc.cluster.id

  route {
    cidr_block     = "0.0.0.0/0"
    nat_gateway_id = aws_nat_gateway.out[local.gateways[each.key]].id
  }
}

resource "aws_route_table_association" "private" {
  for_each = local.zones

  subnet_id      = aws_subnet.private[each.key].id
  route_table_id = aws_route_table.private[each.key].id
}
