resource "google_compute_network" "this" {
  name                    = local.prefix
  auto_create_subnetworks = false

  depends_on = [google_project_service.api]
}

resource "google_compute_subnetwork" "nodes" {
  name                     = "${local.prefix}-nodes"
  network                  = google_compute_network.this.id
  ip_cidr_range            = var.network_ranges.nodes
  private_ip_google_access = true

  secondary_ip_range {
    range_name    = "pods"
    ip_cidr_range = var.network_ranges.pods
  }
  secondary_ip_range {
    range_name    = "services"
    ip_cidr_range = var.network_ranges.services
  }

  # One connection in ten, in reports of ten minutes: enough to see who talks to whom, at little cost.
  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

# Private nodes have no way out but this one: images of third parties, Let's Encrypt, webhooks.
resource "google_compute_router" "this" {
  name    = local.prefix
  network = google_compute_network.this.id
}

resource "google_compute_router_nat" "this" {
  name                               = local.prefix
  router                             = google_compute_router.this.name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}

# GKE lets the control plane reach nodes on 443 and 10250 alone. Without this rule every admission webhook on another
# port times out, and with it whatever it admits.
resource "google_compute_firewall" "webhooks" {
  name                    = "${local.prefix}-webhooks"
  network                 = google_compute_network.this.id
  description             = "From the control plane: KEDA 6443; KServe, KEDA and CloudNativePG 9443; istiod 15017."
  source_ranges           = [var.network_ranges.control_plane]
  target_service_accounts = [google_service_account.nodes.email]

  allow {
    protocol = "tcp"
    ports    = ["6443", "9443", "15017"]
  }
}

# Outlives the gateway, so that the domain's records stay true.
resource "google_compute_address" "gateway" {
  name         = "${local.prefix}-gateway"
  address_type = "EXTERNAL"

  depends_on = [google_project_service.api]
}
