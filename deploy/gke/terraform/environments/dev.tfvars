# Small, in one zone, without deletion protection.
environment         = "dev"
region              = "europe-west1"
zones               = ["europe-west1-b"]
deletion_protection = false

stable_pool = { min_nodes = 2, max_nodes = 4 }
spot_pool   = { max_nodes = 2 }
