{{/* The configuration of volkeep, with what the chart knows better. */}}

{{- define "volkeep.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if not $config.repositories -}}
{{- fail "config.repositories has to be given: the addresses of the repositories, see docs/configuration.md" -}}
{{- end -}}
{{- $volume := deepCopy ($config.volume | default dict) -}}
{{- $path := ternary "/volume/data" "/volume" (eq .Values.volume.layout "subdirectory") -}}
{{- $_ := set $volume "path" $path -}}
{{- $_ := set $volume "state_dir" "/volume/.volkeep" -}}
{{- $_ := set $volume "identity" ($volume.identity | default (include "volkeep.name" .)) -}}
{{- $_ := set $config "volume" $volume -}}
{{- toYaml $config -}}
{{- end }}

{{/* Stops where the pod would be killed before the sidecar has ended. A grace in hours or days is not looked at. */}}
{{- define "volkeep.checkGrace" -}}
{{- $grace := toString (dig "sidecar" "grace" "25s" .Values.config) -}}
{{- if regexMatch "^[0-9]+[sm]?$" $grace -}}
{{- $seconds := int (regexFind "^[0-9]+" $grace) -}}
{{- if hasSuffix "m" $grace }}{{ $seconds = mul $seconds 60 }}{{ end -}}
{{- $whole := int .Values.terminationGracePeriodSeconds -}}
{{- if ge (int $seconds) $whole -}}
{{- fail (printf "terminationGracePeriodSeconds (%d) has to be more than config.sidecar.grace (%s)" $whole $grace) -}}
{{- end -}}
{{- end -}}
{{- end }}
