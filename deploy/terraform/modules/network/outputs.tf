output "vpc_id" {
  description = "The network."
  value       = aws_vpc.cluster.id
}

output "private_subnets" {
  description = "Subnet ids for nodes, in the zones' order."
  value       = [for zone in var.zones : aws_subnet.private[zone].id]
}

output "public_subnets" {
  description = "Subnet ids for the edge, in the zones' order."
  value       = [for zone in var.zones : aws_subnet.public[zone].id]
}

output "security_groups" {
  description = "By member (control_plane, workers, api_balancer, edge, cache): its group's id."
  value       = { for name, group in aws_security_group.members : name => group.id }
}

output "edge_node_port" {
  description = "Where the edge finds the ingress on every worker."
  value       = var.edge_node_port
}

output "cidr" {
  description = "The network's addresses."
  value       = var.cidr
}
