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

  # Sample a tenth of the flows, aggregated over ten minutes, to limit the cost.
  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

# Egress of private nodes: third-party images, Let's Encrypt, webhooks.
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

# GKE allows traffic from the control plane to nodes on ports 443 and 10250 only. Without this rule admission webhooks on other
# ports time out.
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

# Independent of the gateway, so that DNS records stay valid.
resource "google_compute_address" "gateway" {
  name         = "${local.prefix}-gateway"
  address_type = "EXTERNAL"

  depends_on = [google_project_service.api]
}
