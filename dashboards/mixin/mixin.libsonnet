// Dashboards, recording rules and alerts of tcp-trace, as a monitoring mixin.
(import 'config.libsonnet')
+ (import 'rules.libsonnet')
+ (import 'alerts.libsonnet')
+ (import 'dashboards.libsonnet')
