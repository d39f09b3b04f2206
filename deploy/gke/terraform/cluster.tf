locals {
  # The control plane is reachable from the listed networks at its public address or, without any, at its DNS name with IAM
  # authorization.
  lists_networks = length(var.master_authorized_networks) > 0
}

resource "google_container_cluster" "this" {
  # checkov:skip=CKV_GCP_12: Dataplane V2, below, enforces network policies without the old add-on.
  # checkov:skip=CKV_GCP_65: A Google group for RBAC needs a Workspace domain, which a project need not have.
  # checkov:skip=CKV_GCP_66: Third-party images come from many registries; those of this project are deployed by digest.
  name                = local.prefix
  location            = var.region
  node_locations      = length(var.zones) > 0 ? var.zones : null
  deletion_protection = var.deletion_protection
  resource_labels     = local.labels

  network         = google_compute_network.this.id
  subnetwork      = google_compute_subnetwork.nodes.id
  networking_mode = "VPC_NATIVE"
  # Dataplane V2: network policies are enforced without an add-on.
  datapath_provider           = "ADVANCED_DATAPATH"
  enable_intranode_visibility = true
  enable_shielded_nodes       = true

  # The pools are below. GKE requires an initial pool, which is removed at once; it has the same restrictions.
  remove_default_node_pool = true
  initial_node_count       = 1
  node_config {
    machine_type    = "e2-medium"
    service_account = google_service_account.nodes.email

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }

  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }

  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = !local.lists_networks
    master_ipv4_cidr_block  = var.network_ranges.control_plane
  }
  master_authorized_networks_config {
    gcp_public_cidrs_access_enabled = false

    dynamic "cidr_blocks" {
      for_each = var.master_authorized_networks

      content {
        display_name = cidr_blocks.key
        cidr_block   = cidr_blocks.value
      }
    }
  }
  control_plane_endpoints_config {
    dns_endpoint_config {
      allow_external_traffic = !local.lists_networks
    }
  }
  master_auth {
    client_certificate_config {
      issue_client_certificate = false
    }
  }

  workload_identity_config {
    workload_pool = "${var.project}.svc.id.goog"
  }

  release_channel {
    channel = var.release_channel
  }
  maintenance_policy {
    recurring_window {
      start_time = "2026-01-03T01:00:00Z"
      end_time   = "2026-01-03T07:00:00Z"
      recurrence = "FREQ=WEEKLY;BYDAY=SA,SU"
    }
  }

  # The Gateway API's resources are installed with Istio, in the same version here and on a laptop.
  gateway_api_config {
    channel = "CHANNEL_DISABLED"
  }

  addons_config {
    gcp_filestore_csi_driver_config {
      enabled = var.shared_models
    }
  }

  logging_config {
    enable_components = ["SYSTEM_COMPONENTS", "WORKLOADS"]
  }
  # The workloads' metrics go to the cluster's own Prometheus.
  monitoring_config {
    enable_components = ["SYSTEM_COMPONENTS"]

    managed_prometheus {
      enabled = false
    }
  }

  lifecycle {
    ignore_changes = [node_config, initial_node_count]
  }

  # Nodes without their roles do not become healthy.
  depends_on = [google_project_iam_member.nodes, google_artifact_registry_repository_iam_member.pull]
}

resource "google_container_node_pool" "this" {
  for_each = { stable = var.stable_pool, spot = var.spot_pool }

  name               = each.key
  cluster            = google_container_cluster.this.id
  initial_node_count = min(each.value.min_nodes, 1)

  autoscaling {
    total_min_node_count = each.value.min_nodes
    total_max_node_count = each.value.max_nodes
    location_policy      = each.key == "spot" ? "ANY" : "BALANCED"
  }
  management {
    auto_repair  = true
    auto_upgrade = true
  }
  upgrade_settings {
    max_surge       = 1
    max_unavailable = 0
  }
  network_config {
    enable_private_nodes = true
  }

  node_config {
    machine_type    = each.value.machine_type
    disk_size_gb    = each.value.disk_gb
    disk_type       = "pd-balanced"
    image_type      = "COS_CONTAINERD"
    spot            = each.key == "spot"
    service_account = google_service_account.nodes.email
    # The scope grants nothing: the roles of the service account decide.
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    metadata        = { disable-legacy-endpoints = "true" }
    resource_labels = local.labels

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }

    # GKE's own pods tolerate no taint, so the stable pool has none. A spot node gives its pods 15 seconds to end, less than
    # a server needs to drain: only pods that tolerate the taint run there.
    dynamic "taint" {
      for_each = each.key == "spot" ? [1] : []

      content {
        key    = "cloud.google.com/gke-spot"
        value  = "true"
        effect = "NO_SCHEDULE"
      }
    }
  }

  lifecycle {
    ignore_changes = [initial_node_count]
  }
}
