output "instance_profiles" {
  description = "By kind of node (control_plane, workers): its instance profile's name."
  value       = { for kind, profile in aws_iam_instance_profile.nodes : kind => profile.name }
}

output "parameters" {
  description = "By purpose (join, certificate, kubeconfig): the parameter's path."
  value       = local.parameters
}
