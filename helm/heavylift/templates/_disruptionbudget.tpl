{{/*
By what may be away, never by what must be there: of one replica that would block every drain.
(list $ "api" maxUnavailable)
*/}}
{{- define "heavylift.disruptionBudget" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "heavylift.fullname" $root }}-{{ $component }}
  labels:
    {{- include "heavylift.labels" (list $root $component) | nindent 4 }}
spec:
  maxUnavailable: {{ index . 2 }}
  # One that is not ready serves nobody: it may always go.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "heavylift.selector" (list $root $component) | nindent 6 }}
{{- end -}}
