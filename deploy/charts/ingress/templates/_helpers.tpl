{{- define "ingress.labels" -}}
app.kubernetes.io/name: {{ .Values.gateway.name }}-ingress
app.kubernetes.io/part-of: reviews-parsing
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Enabled routes, as JSON. */}}
{{- define "ingress.routes" -}}
{{- $routes := dict }}
{{- range $host, $route := .Values.routes }}{{ if dig "enabled" true . }}{{ $_ := set $routes $host $route }}{{ end }}{{ end }}
{{- toJson $routes }}
{{- end }}

{{/* All hosts, as a JSON list. */}}
{{- define "ingress.hosts" -}}
{{- $hosts := list (printf "api.%s" .Values.domain) }}
{{- range $name, $_ := include "ingress.routes" . | fromJson }}{{ $hosts = append $hosts (printf "%s.%s" $name $.Values.domain) }}{{ end }}
{{- toJson $hosts }}
{{- end }}

{{/* Authorities of a host: with and without a port. */}}
{{- define "ingress.authority" -}}
- {{ . | quote }}
- {{ printf "%s:*" . | quote }}
{{- end }}

{{/*
Paths of the inference service that the gateway allows, as a JSON list: REST, then gRPC. `{*}` is one segment; the
route (deploy/charts/reviews-parsing) accepts only a number there.
*/}}
{{- define "ingress.paths" -}}
{{- $model := printf "/v2/models/%s" .Values.inference.model }}
{{- $inference := list "infer" "generate" "infer_stream" "generate_stream" }}
{{- $paths := list "/v2" "/v2/health/live" "/v2/health/ready" "/v2/docs" "/v2/docs/dataplane.json" "/v2/docs/swagger-ui-bundle.js" "/v2/docs/swagger-ui.css" }}
{{- range $base := list $model (printf "%s/versions/{*}" $model) }}
{{- $paths = append $paths $base }}
{{- range prepend $inference "ready" }}{{ $paths = append $paths (printf "%s/%s" $base .) }}{{ end }}
{{- end }}
{{- range list "docs" "docs/dataplane.json" }}{{ $paths = append $paths (printf "%s/%s" $model .) }}{{ end }}
{{- range list "ServerLive" "ServerReady" "ServerMetadata" "ModelReady" "ModelMetadata" "ModelInfer" "ModelStreamInfer" }}
{{- $paths = append $paths (printf "/inference.GRPCInferenceService/%s" .) }}
{{- end }}
{{- toJson $paths }}
{{- end }}

{{/* Pods by namespace and labels, as a network policy's peer. */}}
{{- define "ingress.peer" -}}
- namespaceSelector:
    matchLabels: {kubernetes.io/metadata.name: {{ .namespace }}}
  podSelector:
    matchLabels: {{- toYaml .podLabels | nindent 6 }}
{{- end }}
