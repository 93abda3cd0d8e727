mock_provider "aws" {}

variables {
  name           = "optml"
  region         = "eu-central-1"
  zones          = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  log_bucket_arn = "arn:aws:s3:::optml-logs"
}

run "nothing_outside_reaches_a_node" {
  assert {
    condition     = alltrue([for subnet in concat(values(aws_subnet.private), values(aws_subnet.public)) : !subnet.map_public_ip_on_launch])
    error_message = "No subnet gives public addresses."
  }

  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.flows : rule.cidr_ipv4 == null && rule.from_port != 22 && rule.to_port - rule.from_port <= 1])
    error_message = "Groups admit groups, at named ports, and never SSH."
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.edge) == 0
    error_message = "Nobody reaches the edge unless named."
  }

  assert {
    condition     = toset([for name, rule in aws_vpc_security_group_ingress_rule.flows : name if rule.security_group_id == aws_security_group.members["api_balancer"].id]) == toset(["api_from_control_plane", "api_from_workers"])
    error_message = "Only nodes reach the control plane's load balancer."
  }

  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_egress_rule.https : rule.from_port == 443 && rule.to_port == 443])
    error_message = "Nodes leave over HTTPS alone."
  }

  assert {
    condition     = keys(aws_vpc_security_group_ingress_rule.flows) == keys(aws_vpc_security_group_egress_rule.flows)
    error_message = "What one end may send, the other may receive."
  }
}

run "aws_is_reached_inside_of_the_network" {
  assert {
    condition     = length(setsubtract(["sqs", "ecr.api", "ecr.dkr", "ssm", "ssmmessages", "sts", "kms"], keys(aws_vpc_endpoint.interface))) == 0
    error_message = "Each service that nodes ask has its endpoint."
  }

  assert {
    condition     = alltrue([for endpoint in aws_vpc_endpoint.gateway : length(endpoint.route_table_ids) == 3])
    error_message = "S3 is routed from every zone."
  }
}

run "zones_do_not_overlap_and_each_has_its_gateway" {
  assert {
    condition     = length(distinct([for subnet in concat(values(aws_subnet.private), values(aws_subnet.public)) : subnet.cidr_block])) == 6 && length(aws_nat_gateway.out) == 3
    error_message = "Six different ranges, three gateways."
  }
}

run "one_gateway_for_all" {
  command = plan

  variables {
    nat_per_zone = false
  }

  assert {
    condition     = keys(aws_nat_gateway.out) == ["eu-central-1a"]
    error_message = "One gateway, in the first zone."
  }
}

run "the_edge_for_an_office" {
  command = plan

  variables {
    edge_cidrs = ["192.0.2.0/24"]
  }

  assert {
    condition     = [for rule in aws_vpc_security_group_ingress_rule.edge : [rule.cidr_ipv4, rule.from_port, rule.to_port]] == [["192.0.2.0/24", 443, 443]]
    error_message = "The office, at 443."
  }
}

run "a_single_zone" {
  command = plan

  variables {
    zones = ["eu-central-1a"]
  }

  expect_failures = [var.zones]
}
