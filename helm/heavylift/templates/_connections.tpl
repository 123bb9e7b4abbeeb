{{/*
Connections to PostgreSQL, as JSON: `steady` with all the replicas that the values allow, `upgrade` with
those beside them that a roll-out brings. Each process says at its start how many it takes.
*/}}
{{- define "heavylift.connections" -}}
{{- $api := .Values.api -}}
{{- $replicas := int (ternary $api.autoscaling.maxReplicas $api.replicas $api.autoscaling.enabled) -}}
{{- $settings := merge (dict) (deepCopy ($api.settings | default dict)) (deepCopy (.Values.settings | default dict)) -}}
{{- $processes := index $settings "HEAVYLIFT_API_PROCESSES" | default 1 | int -}}
{{- $apiPod := mul $processes (add1 $api.databasePoolSize) -}}
{{- $controllerPod := ternary 9 8 .Values.controller.markPods -}}
{{- $steady := add (mul $replicas $apiPod) (mul .Values.controller.replicas $controllerPod) -}}
{{- /* One API pod more, a quarter of the controllers, each worker twice, the migrations. */ -}}
{{- $more := add $apiPod (mul (div (add .Values.controller.replicas 3) 4) $controllerPod) 1 -}}
{{- range $name := include "heavylift.pools" . | splitList "," -}}
{{- $pool := include "heavylift.pool" (list $ $name) | fromJson -}}
{{- $pods := int (ternary $pool.autoscaling.maxReplicas $pool.replicas $.Values.keda.enabled) -}}
{{- $needed := mul $pods (add1 $pool.concurrency) -}}
{{- $steady = add $steady $needed -}}
{{- $more = add $more $needed -}}
{{- end -}}
{{- dict "steady" $steady "upgrade" (add $steady $more) | toJson -}}
{{- end -}}
