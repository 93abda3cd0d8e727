locals {
  # Terraform makes no parameter and reads none: what it makes, it keeps in its state.
  parameters = {
    join        = "/${var.name}/join"
    certificate = "/${var.name}/certificate-key"
    kubeconfig  = "/${var.name}/kubeconfig"
  }
  parameter_arns = {
    for purpose, path in local.parameters : purpose => "arn:aws:ssm:${var.region}:${var.account_id}:parameter${path}"
  }

  roles = ["control_plane", "workers"]

  # What Session Manager asks of its agent, without the right to read parameters that AWS's own policy adds.
  session = {
    Sid    = "Sessions"
    Effect = "Allow"
    Action = [
      "ssm:UpdateInstanceInformation", "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
    ]
    # These actions know no resource to name.
    Resource = "*"
  }

  open_join_secrets = { for purpose, arn in local.parameter_arns : purpose => {
    Sid       = "Open${title(purpose)}"
    Effect    = "Allow"
    Action    = "kms:Decrypt"
    Resource  = var.join_key_arn
    Condition = { StringEquals = { "kms:EncryptionContext:PARAMETER_ARN" = arn, "kms:ViaService" = "ssm.${var.region}.amazonaws.com" } }
  } }

  worker_statements = [
    local.session,
    # One parameter, named in full: what a worker may know is how to join.
    { Sid = "ReadJoin", Effect = "Allow", Action = "ssm:GetParameter", Resource = local.parameter_arns.join },
    local.open_join_secrets.join,
    {
      Sid    = "PullImages"
      Effect = "Allow"
      Action = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      # A cluster without images of its own has no repository to name.
      Resource = length(var.repository_arns) > 0 ? var.repository_arns : ["arn:aws:ecr:${var.region}:${var.account_id}:repository/${var.name}/none"]
    },
    # Knows no resource to name.
    { Sid = "LogInToRegistry", Effect = "Allow", Action = "ecr:GetAuthorizationToken", Resource = "*" },
  ]

  control_plane_statements = [
    local.session,
    {
      Sid      = "JoinSecrets"
      Effect   = "Allow"
      Action   = ["ssm:GetParameter", "ssm:PutParameter"]
      Resource = [local.parameter_arns.join, local.parameter_arns.certificate]
    },
    # Written for operators, whose own roles read it.
    { Sid = "PublishKubeconfig", Effect = "Allow", Action = "ssm:PutParameter", Resource = local.parameter_arns.kubeconfig },
    local.open_join_secrets.join,
    local.open_join_secrets.certificate,
    {
      Sid       = "SealJoinSecrets"
      Effect    = "Allow"
      Action    = ["kms:Encrypt", "kms:GenerateDataKey"]
      Resource  = var.join_key_arn
      Condition = { StringEquals = { "kms:ViaService" = "ssm.${var.region}.amazonaws.com" } }
    },
    { Sid = "Election", Effect = "Allow", Action = ["dynamodb:GetItem", "dynamodb:UpdateItem"], Resource = var.election_table_arn },
    # Written, never read or removed: who takes a node over cannot take the snapshots with it.
    { Sid = "WriteSnapshots", Effect = "Allow", Action = "s3:PutObject", Resource = "${var.snapshot_bucket_arn}/etcd/*" },
    {
      Sid      = "PublishIssuer"
      Effect   = "Allow"
      Action   = "s3:PutObject"
      Resource = ["${var.issuer_bucket_arn}/.well-known/openid-configuration", "${var.issuer_bucket_arn}/openid/v1/jwks"]
    },
    {
      Sid      = "SealData"
      Effect   = "Allow"
      Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource = var.data_key_arn
      Condition = { StringEquals = { "kms:ViaService" = [
        "s3.${var.region}.amazonaws.com", "dynamodb.${var.region}.amazonaws.com",
      ] } }
    },
    {
      Sid    = "SeeMachines"
      Effect = "Allow"
      Action = [
        # The cloud provider
        "ec2:DescribeInstances", "ec2:DescribeAvailabilityZones", "ec2:DescribeRegions", "ec2:DescribeInstanceTopology",
        # cluster-autoscaler
        "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances",
        "autoscaling:DescribeLaunchConfigurations", "autoscaling:DescribeScalingActivities", "autoscaling:DescribeTags",
        "ec2:DescribeImages", "ec2:DescribeInstanceTypes", "ec2:DescribeLaunchTemplateVersions",
        "ec2:GetInstanceTypesFromInstanceRequirements",
      ]
      # Descriptions know no resource to name.
      Resource = "*"
    },
    {
      Sid       = "ScaleOwnGroups"
      Effect    = "Allow"
      Action    = ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"]
      Resource  = "arn:aws:autoscaling:${var.region}:${var.account_id}:autoScalingGroup:*:autoScalingGroupName/${var.name}-*"
      Condition = { StringEquals = { "aws:ResourceTag/k8s.io/cluster-autoscaler/${var.name}" = "owned" } }
    },
  ]

  statements = { control_plane = local.control_plane_statements, workers = local.worker_statements }
}

resource "aws_iam_role" "nodes" {
  for_each = toset(local.roles)

  name = "${var.name}-${replace(each.key, "_", "-")}"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "ec2.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_iam_role_policy" "nodes" {
  for_each = toset(local.roles)

  name   = "node"
  role   = aws_iam_role.nodes[each.key].id
  policy = jsonencode({ Version = "2012-10-17", Statement = [for statement in local.statements[each.key] : statement] })
}

resource "aws_iam_instance_profile" "nodes" {
  for_each = toset(local.roles)

  name = aws_iam_role.nodes[each.key].name
  role = aws_iam_role.nodes[each.key].name
}
