output "endpoint" {
  description = "HOST:PORT of the store (TLS, with the password); empty where it runs inside of the cluster."
  value       = var.enabled ? "${aws_elasticache_replication_group.store[0].primary_endpoint_address}:6379" : ""
}
