output "api_host" {
  description = "The name under which nodes reach the API, inside of the network."
  value       = aws_lb.api.dns_name
}

output "api_balancer" {
  description = "The load balancer and its target group, as CloudWatch names them."
  value       = { load_balancer = aws_lb.api.arn_suffix, target_group = aws_lb_target_group.api.arn_suffix }
}

output "instance_ids" {
  description = "The nodes, for sessions."
  value       = [for index in sort(keys(local.nodes)) : aws_instance.nodes[index].id]
}

output "election_table" {
  description = "The table of the election: name and arn."
  value       = { name = aws_dynamodb_table.election.name, arn = aws_dynamodb_table.election.arn }
}
