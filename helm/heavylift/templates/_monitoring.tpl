{{/* A value of `monitoring.rules.thresholds`, as it stands in a rule: (list NAME VALUE LIMITS). */}}
{{- define "heavylift.threshold" -}}
{{- $name := index . 0 -}}
{{- $value := index . 1 -}}
{{- $limits := index . 2 -}}
{{- $number := has (kindOf $value) (list "float64" "int64" "int") -}}
{{- $valid := false -}}
{{- if $limits.pattern -}}
{{- $valid = and (kindIs "string" $value) (ne $value "") (regexMatch $limits.pattern $value) -}}
{{- else if $number -}}
{{- $valid = and (gt (float64 $value) (float64 $limits.above)) (lt (float64 $value) (float64 $limits.below)) -}}
{{- end -}}
{{- if not $valid -}}
{{- $hint := "" -}}
{{- if and (not $limits.pattern) (kindIs "string" $value) -}}
{{- $hint = ", not a string (--set makes a string of a decimal, --set-json does not)" -}}
{{- end -}}
{{- fail (printf "monitoring.rules.thresholds.%s: %s is not valid, use %s%s" $name (toJson $value) $limits.takes $hint) -}}
{{- end -}}
{{- /* Helm's numbers are floats, which would print 86400000 as 8.64e+07. */ -}}
{{- if and $number (eq (float64 $value) (floor $value)) -}}
{{- printf "%.0f" (float64 $value) -}}
{{- else -}}
{{- toString $value -}}
{{- end -}}
{{- end -}}

{{/* The recording rules and alerts, with the thresholds put in: a file as Prometheus reads it. */}}
{{- define "heavylift.rules" -}}
{{- $thresholds := .Files.Get "monitoring/thresholds.json" | fromJson -}}
{{- $given := .Values.monitoring.rules.thresholds | default dict -}}
{{- range $name, $_ := $given -}}
{{- if not (hasKey $thresholds $name) -}}
{{- fail (printf "monitoring.rules.thresholds.%s is not a threshold, use one of: %s" $name (keys $thresholds | sortAlpha | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- $text := regexReplaceAll "(?m)^#.*\n" (.Files.Get "monitoring/rules.yaml") "" -}}
{{- range $name, $threshold := $thresholds -}}
{{- $value := hasKey $given $name | ternary (get $given $name) $threshold.default -}}
{{- $text = replace (printf "${%s}" $name) (include "heavylift.threshold" (list $name $value $threshold)) $text -}}
{{- end -}}
{{- $text -}}
{{- end -}}
