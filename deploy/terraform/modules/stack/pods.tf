locals {
  queue_arns = flatten([for queue in values(module.queue.queues) : [queue.arn]])
  archive    = module.storage.buckets.archive.arn

  # The archive is encrypted with our key; through S3 only.
  data_key = {
    Sid       = "DataKey"
    Effect    = "Allow"
    Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource  = module.keys.data_arn
    Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
  }

  write_archive = [
    { Sid = "Archive", Effect = "Allow", Action = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"], Resource = "${local.archive}/*" },
    { Sid = "ListArchive", Effect = "Allow", Action = "s3:ListBucket", Resource = local.archive },
    local.data_key,
  ]

  queues = [
    {
      Sid    = "Queues"
      Effect = "Allow"
      Action = [
        "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
        "sqs:ReceiveMessage", "sqs:SendMessage",
      ]
      Resource = local.queue_arns
    },
    # Knows no resource to name; the queue's library looks its queues up by prefix.
    { Sid = "FindQueues", Effect = "Allow", Action = "sqs:ListQueues", Resource = "*" },
  ]

  policies = {
    worker = concat(local.queues, local.write_archive)
    # Publishes, archives, and clears away checkpoints that nobody needs any more.
    controller = concat(local.queues, local.write_archive, [
      { Sid = "ClearArchive", Effect = "Allow", Action = "s3:DeleteObject", Resource = "${local.archive}/*" },
    ])
    api = concat(local.queues, local.write_archive)
    ebs-csi = [
      {
        Sid    = "SeeVolumes"
        Effect = "Allow"
        Action = [
          "ec2:DescribeAvailabilityZones", "ec2:DescribeInstances", "ec2:DescribeSnapshots", "ec2:DescribeTags",
          "ec2:DescribeVolumes", "ec2:DescribeVolumesModifications", "ec2:DescribeVolumeStatus",
        ]
        # Descriptions know no resource to name.
        Resource = "*"
      },
      {
        Sid       = "MakeVolumes"
        Effect    = "Allow"
        Action    = "ec2:CreateVolume"
        Resource  = "arn:aws:ec2:${var.region}:${var.account_id}:volume/*"
        Condition = { StringEquals = { "aws:RequestTag/ebs.csi.aws.com/cluster" = "true" } }
      },
      {
        Sid       = "TagNewVolumes"
        Effect    = "Allow"
        Action    = "ec2:CreateTags"
        Resource  = "arn:aws:ec2:${var.region}:${var.account_id}:volume/*"
        Condition = { StringEquals = { "ec2:CreateAction" = "CreateVolume" } }
      },
      {
        Sid       = "UseOwnVolumes"
        Effect    = "Allow"
        Action    = ["ec2:AttachVolume", "ec2:DetachVolume", "ec2:DeleteVolume", "ec2:ModifyVolume"]
        Resource  = "arn:aws:ec2:${var.region}:${var.account_id}:volume/*"
        Condition = { StringEquals = { "ec2:ResourceTag/ebs.csi.aws.com/cluster" = "true" } }
      },
      {
        Sid       = "AttachToOwnMachines"
        Effect    = "Allow"
        Action    = ["ec2:AttachVolume", "ec2:DetachVolume"]
        Resource  = "arn:aws:ec2:${var.region}:${var.account_id}:instance/*"
        Condition = { StringEquals = { "ec2:ResourceTag/kubernetes.io/cluster/${var.name}" = "owned" } }
      },
    ]
  }

  accounts = {
    worker     = { namespace = "optml", service_account = "optml-worker" }
    controller = { namespace = "optml", service_account = "optml-controller" }
    api        = { namespace = "optml", service_account = "optml-api" }
    ebs-csi    = { namespace = "kube-system", service_account = "ebs-csi-controller-sa" }
  }

  pods = { for name, account in local.accounts : name => merge(account, {
    policy = jsonencode({ Version = "2012-10-17", Statement = [for statement in local.policies[name] : statement] })
  }) }
}
