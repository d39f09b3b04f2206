variable "project" {
  type        = string
  description = "Id of an existing Google Cloud project with billing. Best one project for each environment."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project id has 6 to 30 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "region" {
  type        = string
  description = "Region of everything here, such as europe-west1."
  default     = "europe-west1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region looks like europe-west1; europe-west1-b is a zone."
  }
}

variable "zones" {
  type        = set(string)
  description = "Zones of the nodes; empty: three that GKE chooses. The control plane is always in three."
  default     = []

  validation {
    condition     = alltrue([for zone in var.zones : can(regex("^${var.region}-[a-z]$", zone))])
    error_message = "Each zone must be of the region, such as ${var.region}-b."
  }
}

variable "environment" {
  type        = string
  description = "Name of the environment, such as dev or prod; part of every name."
  default     = "dev"

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,3}$", var.environment))
    error_message = "An environment has 2 to 4 lower-case letters and digits: names of service accounts end at 30."
  }
}

variable "name" {
  type        = string
  description = "Prefix of every name."
  default     = "reviews-parsing"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,13}[a-z0-9]$", var.name))
    error_message = "A name has 3 to 15 lower-case letters, digits and hyphens: names of service accounts end at 30."
  }
}

variable "domain" {
  type        = string
  description = "Domain of the hosts api., mlflow. and so on. Unset: Cloud Endpoints' free one of the project."
  default     = null

  validation {
    condition     = var.domain == null || can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.domain))
    error_message = "A domain looks like reviews.example.org, in lower case and without a scheme."
  }
}

variable "release_channel" {
  type        = string
  description = "GKE release channel."
  default     = "REGULAR"

  validation {
    condition     = contains(["RAPID", "REGULAR", "STABLE", "EXTENDED"], var.release_channel)
    error_message = "One of RAPID, REGULAR, STABLE, EXTENDED."
  }
}

variable "deletion_protection" {
  type        = bool
  description = "Refuse to destroy the cluster and a bucket that is not empty."
  default     = true
}

variable "master_authorized_networks" {
  type        = map(string)
  description = <<-EOT
    CIDR ranges, by name, from which the control plane may be reached at its public address.
    Empty: it has none, and is reached through its DNS name, by whom IAM allows it.
  EOT
  default     = {}

  validation {
    condition     = alltrue([for range in values(var.master_authorized_networks) : can(cidrhost(range, 0))])
    error_message = "Each range must be a CIDR range, such as 192.0.2.0/24."
  }
  validation {
    condition     = alltrue([for range in values(var.master_authorized_networks) : !endswith(range, "/0")])
    error_message = "A range of all addresses authorizes everybody; name those that need access."
  }
}

variable "network_ranges" {
  type = object({
    nodes         = optional(string, "10.10.0.0/22")
    pods          = optional(string, "10.20.0.0/16")
    services      = optional(string, "10.30.0.0/20")
    control_plane = optional(string, "172.16.0.0/28")
  })
  description = "CIDR ranges of the network; change them to peer it with a network that uses the same."
  default     = {}

  validation {
    condition     = alltrue([for range in values(var.network_ranges) : can(cidrhost(range, 0))])
    error_message = "Each range must be a CIDR range, such as 10.10.0.0/22."
  }
  validation {
    condition     = endswith(var.network_ranges.control_plane, "/28")
    error_message = "The control plane takes exactly a /28."
  }
}

variable "stable_pool" {
  type = object({
    machine_type = optional(string, "n2-standard-4")
    disk_gb      = optional(number, 50)
    min_nodes    = optional(number, 1)
    max_nodes    = optional(number, 3)
  })
  description = "Nodes on demand: inference, MLflow, gateway, monitoring. Counts are over all zones."
  default     = {}

  validation {
    condition     = 1 <= var.stable_pool.min_nodes && var.stable_pool.min_nodes <= var.stable_pool.max_nodes
    error_message = "min_nodes must be 1 or more, and not above max_nodes."
  }
}

variable "spot_pool" {
  type = object({
    machine_type = optional(string, "n2-standard-4")
    disk_gb      = optional(number, 50)
    min_nodes    = optional(number, 0)
    max_nodes    = optional(number, 4)
  })
  description = "Spot nodes, for builds and batches. Counts are over all zones."
  default     = {}

  validation {
    condition     = 0 <= var.spot_pool.min_nodes && var.spot_pool.min_nodes <= var.spot_pool.max_nodes
    error_message = "min_nodes must be 0 or more, and not above max_nodes."
  }
}

variable "shared_models" {
  type        = bool
  description = <<-EOT
    Share fetched versions among inference pods, so that new pods start while MLflow is unavailable. The cluster then
    creates a Filestore instance (100 GiB, basic HDD), which costs money.
  EOT
  default     = false
}

variable "github_repository" {
  type        = string
  description = "Repository, OWNER/NAME, whose workflow on its main branch may push images. Unset: none."
  default     = null

  validation {
    condition     = var.github_repository == null || can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.github_repository))
    error_message = "A repository is OWNER/NAME, without a host."
  }
}
