locals {
  members = {
    api_balancer  = "The control plane's load balancer"
    control_plane = "Control-plane nodes"
    workers       = "Worker nodes"
    edge          = "The edge's load balancer"
    cache         = "The store"
    endpoints     = "Endpoints of AWS services"
  }

  nodes = ["control_plane", "workers"]

  # Who may speak to whom, at which ports. Both ends are groups: no address is trusted.
  flows = merge(
    { for node in local.nodes : "api_from_${node}" => { from = node, to = "api_balancer", port = 6443 } },
    { for node in local.nodes : "aws_from_${node}" => { from = node, to = "endpoints", port = 443 } },
    {
      api = { from = "api_balancer", to = "control_plane", port = 6443 }
      # The service `kubernetes` leads pods to the API servers themselves, past the load balancer.
      api_to_pods   = { from = "workers", to = "control_plane", port = 6443 }
      api_to_itself = { from = "control_plane", to = "control_plane", port = 6443 }
      etcd          = { from = "control_plane", to = "control_plane", port = 2379, last_port = 2380 }
      edge          = { from = "edge", to = "workers", port = var.edge_node_port }
      cache         = { from = "workers", to = "cache", port = 6379 }
    },
    # The API server and metrics-server ask kubelets; Calico carries pods' traffic in VXLAN.
    merge([for from in local.nodes : merge([for to in local.nodes : {
      "kubelet_${from}_${to}" = { from = from, to = to, port = 10250 }
      "vxlan_${from}_${to}"   = { from = from, to = to, port = 4789, protocol = "udp" }
    }]...)]...),
  )
}

resource "aws_security_group" "members" {
  # checkov:skip=CKV2_AWS_5: the groups are attached by the other modules
  for_each = local.members

  name        = "${var.name}-${replace(each.key, "_", "-")}"
  description = each.value
  vpc_id      = aws_vpc.cluster.id
}

resource "aws_vpc_security_group_ingress_rule" "flows" {
  for_each = local.flows

  description                  = "From ${each.value.from}: ${each.key}"
  security_group_id            = aws_security_group.members[each.value.to].id
  referenced_security_group_id = aws_security_group.members[each.value.from].id
  ip_protocol                  = try(each.value.protocol, "tcp")
  from_port                    = each.value.port
  to_port                      = try(each.value.last_port, each.value.port)
}

resource "aws_vpc_security_group_egress_rule" "flows" {
  for_each = local.flows

  description                  = "To ${each.value.to}: ${each.key}"
  security_group_id            = aws_security_group.members[each.value.from].id
  referenced_security_group_id = aws_security_group.members[each.value.to].id
  ip_protocol                  = try(each.value.protocol, "tcp")
  from_port                    = each.value.port
  to_port                      = try(each.value.last_port, each.value.port)
}

# Packages, images and charts, and S3 and DynamoDB through their gateways; never plain HTTP.
resource "aws_vpc_security_group_egress_rule" "https" {
  for_each = toset(local.nodes)

  description       = "HTTPS to anywhere"
  security_group_id = aws_security_group.members[each.key].id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_ingress_rule" "edge" {
  for_each = toset(var.edge_cidrs)

  description       = "People and programs of ${each.key}"
  security_group_id = aws_security_group.members["edge"].id
  cidr_ipv4         = each.key
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
