{{/*
A server for trials, one pod with one volume:
(dict "root" $ "component" "redis" "values" .Values.redis "uid" 999 "port" 6379 "mountPath" "/data" "container" ... "env" ... "volumes" ... "readOnce" ...)
*/}}
{{- define "heavylift.bundled" -}}
{{- $name := printf "%s-%s" (include "heavylift.fullname" .root) .component -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}
  labels:
    {{- include "heavylift.labels" (list .root .component) | nindent 4 }}
spec:
  selector:
    {{- include "heavylift.selector" (list .root .component) | nindent 4 }}
  ports:
    - {name: {{ .component }}, port: {{ .port }}, targetPort: {{ .component }}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ $name }}
  labels:
    {{- include "heavylift.labels" (list .root .component) | nindent 4 }}
spec:
  serviceName: {{ $name }}
  replicas: 1
  selector:
    matchLabels:
      {{- include "heavylift.selector" (list .root .component) | nindent 6 }}
  template:
    {{- $mounts := list (dict "name" "data" "mountPath" .mountPath) -}}
    {{- $container := merge (dict
        "image" .values.image
        "ports" (list (dict "name" .component "containerPort" .port))
        "volumeMounts" (concat $mounts (.container.volumeMounts | default list))
    ) .container -}}
    {{- include "heavylift.pod" (dict
        "root" .root
        "component" .component
        "values" .values
        "uid" .uid
        "env" .env
        "grace" 60
        "readOnce" .readOnce
        "container" $container
        "volumes" .volumes
    ) | nindent 4 }}
  volumeClaimTemplates:
    - metadata:
        name: data
        labels:
          {{- include "heavylift.selector" (list .root .component) | nindent 10 }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .values.storage.className }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests: {storage: {{ .values.storage.size }}}
{{- end -}}

{{/* A Secret that this chart makes; it stays after an uninstall, as the volumes do that need it. */}}
{{- define "heavylift.madeSecret" -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ .name }}
  labels:
    {{- include "heavylift.labels" (list .root .component) | nindent 4 }}
  {{- if .keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
type: Opaque
stringData:
  {{- range $key, $value := .values }}
  {{ $key }}: {{ $value | quote }}
  {{- end }}
{{- end -}}
