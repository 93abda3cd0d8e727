output "cluster" {
  description = "What deploy/terraform/kubeconfig needs to reach the cluster."
  value = {
    name                 = var.name
    region               = var.region
    api_host             = module.control_plane.api_host
    kubeconfig_parameter = module.iam.parameters.kubeconfig
    session_instance     = module.control_plane.instance_ids[0]
  }
}

output "pod_roles" {
  description = "By pod: the role it takes with its service account's token."
  value       = module.identity.roles
}

output "edge_host" {
  description = "What the host's own name is an alias of; empty without an edge."
  value       = module.edge.host
}

output "answers" {
  description = "What `optml deploy render` asks and this cluster knows (deploy/terraform/answers writes it as YAML)."
  value = {
    broker   = "sqs"
    sqs      = { region = var.region, prefix = module.queue.prefix, account = var.account_id }
    store    = module.cache.endpoint
    cidr     = module.network.cidr
    archive  = "s3://${module.storage.buckets.archive.name}/experiments"
    registry = { for image, repository in module.registry.repositories : image => repository.url }
    queues   = { for class, queue in module.queue.queues : class => queue.url }
    classes = { for name, class in var.classes : name => {
      cpu  = class.cpus, memory_gib = class.memory_gib, gpu = class.gpus, spot = class.spot
      most = class.max_size
    } }
    roles        = { for name in ["api", "controller", "worker"] : name => module.identity.roles[name] }
    visibility_s = module.queue.visibility_s
  }
}
