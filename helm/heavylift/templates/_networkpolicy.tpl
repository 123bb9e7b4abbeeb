{{/*
Who may reach a component, and whom it may reach: (list $ "api"). DNS, what it works with, and what the
values say.
*/}}
{{- define "heavylift.networkPolicy" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{- with $root -}}
{{- if .Values.networkPolicy.enabled -}}
{{- $policy := .Values.networkPolicy -}}
{{- $fullname := include "heavylift.fullname" . -}}
{{- $everyPod := list (dict "namespaceSelector" dict) -}}
{{- $ours := dict "matchLabels" (dict "app.kubernetes.io/name" (include "heavylift.name" .) "app.kubernetes.io/instance" .Release.Name) -}}
{{- $signals := dict "from" ($policy.metricsFrom | default $everyPod) "ports" (list (dict "port" "signals")) -}}
{{- $http := dict "ports" (list (dict "port" "http")) -}}
{{- if $policy.ingressFrom -}}
{{- $_ := set $http "from" (concat $policy.ingressFrom (list (dict "podSelector" $ours))) -}}
{{- end -}}
{{- /* Outside: the usual ports of what is set, or the peers that the values name. */ -}}
{{- $ports := list -}}
{{- if not .Values.postgresql.enabled }}{{- $ports = concat $ports (list 5432 6432) }}{{- end -}}
{{- if not .Values.redis.enabled }}{{- $ports = concat $ports (list 6379 6380) }}{{- end -}}
{{- if not .Values.s3.enabled }}{{- $ports = concat $ports (list 443) }}{{- end -}}
{{- if .Values.telemetry.otlpEndpoint }}{{- $ports = concat $ports (list 443 4318) }}{{- end -}}
{{- $outside := list -}}{{- $mail := list -}}{{- $elsewhere := list -}}
{{- if $policy.egressTo -}}
{{- $outside = list (dict "to" $policy.egressTo) -}}
{{- else -}}
{{- if $ports }}{{- $outside = include "heavylift.toPorts" (uniq $ports) | fromYamlArray }}{{- end -}}
{{- if include "heavylift.mail" . }}{{- $mail = include "heavylift.toPorts" (list 25 465 587) | fromYamlArray }}{{- end -}}
{{- /* Whatever port an ingress controller's pods listen on. */ -}}
{{- if .Values.loadtest.host }}{{- $elsewhere = list dict }}{{- end -}}
{{- end -}}
{{- if not (or .Values.s3.enabled .Values.s3.external.existingSecret) -}}
{{- /* What the service account may do, nodes of AWS and Google say at addresses of the link. */ -}}
{{- $outside = append $outside (dict "to" (list (dict "ipBlock" (dict "cidr" "169.254.0.0/16"))) "ports" (list (dict "port" 80) (dict "port" 988))) -}}
{{- end -}}
{{- $servers := list -}}
{{- range $server, $on := dict "postgresql" .Values.postgresql.enabled "redis" .Values.redis.enabled "s3" .Values.s3.enabled -}}
{{- if $on -}}
{{- $servers = append $servers (dict
    "to" (list (dict "podSelector" (dict "matchLabels" (include "heavylift.selector" (list $root $server) | fromYaml))))
    "ports" (list (dict "port" $server))) -}}
{{- end -}}
{{- end -}}
{{- $database := list -}}
{{- range $servers -}}{{- if eq (first .ports).port "postgresql" -}}{{- $database = append $database . -}}{{- end -}}{{- end -}}
{{- $api := list (dict
    "to" (list (dict "podSelector" (dict "matchLabels" (include "heavylift.selector" (list . "api") | fromYaml))))
    "ports" (list (dict "port" "http"))) -}}
{{- $kubernetes := list -}}
{{- if .Values.controller.markPods -}}
{{- /* The API server is no pod: no selector finds it. */ -}}
{{- $kubernetes = include "heavylift.toPorts" (list 443 6443 8443 16443) | fromYamlArray -}}
{{- end -}}
{{- $rules := dict
    "api" (dict "ingress" (list $http $signals) "egress" (concat $servers $outside $mail))
    "controller" (dict "ingress" (list $signals) "egress" (concat $servers $outside $kubernetes))
    "migrations" (dict "ingress" (list) "egress" (concat $database $outside))
    "loadtest" (dict "ingress" (list $signals) "egress" (concat $api $servers $outside $elsewhere))
    "smoke" (dict "ingress" (list) "egress" $api)
-}}
{{- range $name := include "heavylift.pools" . | splitList "," -}}
{{- $_ := set $rules (printf "worker-%s" $name) (dict "ingress" (list $signals) "egress" (concat $servers $outside)) -}}
{{- end -}}
{{- range $servers -}}
{{- $server := (first .ports).port -}}
{{- $_ := set $rules $server (dict "ingress" (list (dict "from" (list (dict "podSelector" $ours)) "ports" (list (dict "port" $server)))) "egress" (list)) -}}
{{- end -}}
{{- $rule := index $rules $component -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ $fullname }}-{{ $component }}
  labels:
    {{- include "heavylift.labels" (list . $component) | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "heavylift.selector" (list . $component) | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- toYaml $rule.ingress | nindent 4 }}
  egress:
    {{- /* Also where no pod answers (a cache on the node); OpenShift's pods listen on 5353. */}}
    - ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}, {port: 5353, protocol: UDP}, {port: 5353, protocol: TCP}]
    {{- with $rule.egress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* An egress rule to anywhere, at these ports. */}}
{{- define "heavylift.toPorts" -}}
- ports:
  {{- range . }}
  - port: {{ . }}
  {{- end }}
{{- end -}}
