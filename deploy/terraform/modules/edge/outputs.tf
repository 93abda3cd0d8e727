output "host" {
  description = "The name that the host's own name is an alias of; empty without an edge."
  value       = var.enabled ? aws_lb.edge[0].dns_name : ""
}

output "target_group_arns" {
  description = "What the system's machines belong to."
  value       = aws_lb_target_group.ingress[*].arn
}
