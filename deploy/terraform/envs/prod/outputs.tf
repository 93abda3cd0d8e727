output "cluster" {
  description = "For deploy/terraform/kubeconfig."
  value       = module.stack.cluster
}

output "answers" {
  description = "For deploy/terraform/answers."
  value       = module.stack.answers
}

output "pod_roles" {
  description = "By pod: the role it takes with its service account's token."
  value       = module.stack.pod_roles
}

output "edge_host" {
  description = "What the host's own name is an alias of; empty without an edge."
  value       = module.stack.edge_host
}
