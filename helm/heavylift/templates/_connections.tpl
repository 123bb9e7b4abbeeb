{{/*
Connections to PostgreSQL, as JSON: `steady` with all the replicas that the values allow, `upgrade` at
most while they are replaced, when each is there with the one before it, which ends its requests and jobs
first. Each process says at its start how many it takes.
*/}}
{{- define "heavylift.connections" -}}
{{- $api := .Values.api -}}
{{- $replicas := int (ternary $api.autoscaling.maxReplicas $api.replicas $api.autoscaling.enabled) -}}
{{- $settings := include "heavylift.given" (list . $api) | fromJson -}}
{{- $processes := index $settings "HEAVYLIFT_API_PROCESSES" | default 1 | int -}}
{{- $steady := mul $replicas $processes (add1 $api.databasePoolSize) -}}
{{- $steady = add $steady (mul .Values.controller.replicas (ternary 10 9 .Values.controller.markPods)) -}}
{{- range $name := include "heavylift.pools" . | splitList "," -}}
{{- $pool := include "heavylift.pool" (list $ $name) | fromJson -}}
{{- $pods := int (ternary $pool.autoscaling.maxReplicas $pool.replicas $.Values.keda.enabled) -}}
{{- $steady = add $steady (mul $pods (add1 $pool.concurrency)) -}}
{{- end -}}
{{- dict "steady" $steady "upgrade" (mul 2 $steady | add1) | toJson -}}
{{- end -}}
