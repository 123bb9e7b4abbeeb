{{/* The recording rules and alerts, with the thresholds put in: a file as Prometheus reads it. */}}
{{- define "heavylift.rules" -}}
{{- $defaults := .Files.Get "monitoring/thresholds.json" | fromJson -}}
{{- $given := .Values.monitoring.rules.thresholds -}}
{{- range $name, $_ := $given -}}
{{- if not (hasKey $defaults $name) -}}
{{- fail (printf "monitoring.rules.thresholds.%s: there is no such threshold, there are %s" $name (keys $defaults | sortAlpha | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- $text := .Files.Get "monitoring/rules.yaml" -}}
{{- range $name, $default := $defaults -}}
{{- $value := ternary (index $given $name) $default (hasKey $given $name) -}}
{{- $text = replace (printf "${%s}" $name) (toString $value) $text -}}
{{- end -}}
{{- $text -}}
{{- end -}}
