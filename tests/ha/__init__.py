"""Three PostgreSQL servers under Patroni and an etcd, on loopback, and what two `live` processes do while they fail."""
