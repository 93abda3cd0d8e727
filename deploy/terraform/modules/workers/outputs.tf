output "groups" {
  description = "By class: its Auto Scaling group's name."
  value       = { for class, group in aws_autoscaling_group.workers : class => group.name }
}
