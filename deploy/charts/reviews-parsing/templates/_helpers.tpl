{{/* Labels of an object of the inference service. */}}
{{- define "reviews-parsing.labels" -}}
{{- include "reviews-parsing.tool-labels" (list . .Values.name) -}}
{{- end }}

{{/* Labels of an object that belongs to a tool: (list ROOT NAME). */}}
{{- define "reviews-parsing.tool-labels" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ last . }}
app.kubernetes.io/part-of: reviews-parsing
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{/* Labels that KServe sets on every pod and Service of the predictor and of a canary. */}}
{{- define "reviews-parsing.selector" -}}
serving.kserve.io/inferenceservice: {{ .Values.name }}
component: predictor
{{- end }}

{{/* Name of an image, by default of the chart's appVersion: (list ROOT IMAGE). */}}
{{- define "reviews-parsing.image" -}}
{{- $image := last . -}}
{{ $image.repository }}:{{ $image.tag | default (first .).Chart.AppVersion }}
{{- with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/*
Variables of MLflow clients: artifacts pass through the MLflow server. A server of 3.17 with artifacts on S3 redirects
clients to the object store, which pods cannot reach, and has no setting that disables this.
*/}}
{{- define "reviews-parsing.mlflow-client" -}}
- name: MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD
  value: "false"
- name: MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD
  value: "false"
{{- if include "reviews-parsing.mlflow-ca" . }}
- name: MLFLOW_TRACKING_SERVER_CERT_PATH
  value: /etc/mlflow-ca/ca.crt
{{- end }}
{{- end }}

{{/* Certificate authority of MLflow: its Secret (if there is TLS), volume and mount, without a private key. */}}
{{- define "reviews-parsing.mlflow-ca" -}}
{{- if hasPrefix "https:" .Values.mlflow.uri }}{{ .Values.mlflow.caSecret }}{{ end }}
{{- end }}
{{- define "reviews-parsing.mlflow-ca-volume" -}}
{{- with include "reviews-parsing.mlflow-ca" . }}
- name: mlflow-ca
  secret: {secretName: {{ . }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end }}
{{- define "reviews-parsing.mlflow-ca-mount" -}}
{{- if include "reviews-parsing.mlflow-ca" . }}
- {name: mlflow-ca, mountPath: /etc/mlflow-ca, readOnly: true}
{{- end }}
{{- end }}

{{/* The trust policy, if there is one: a variable, a mount and a volume of every pod that loads models. */}}
{{- define "reviews-parsing.trust-variable" -}}
{{- if .Values.trust.publicKey }}
- name: REVIEWS_PARSING_TRUST
  value: /etc/reviews-parsing-trust/policy
{{- end }}
{{- end }}
{{- define "reviews-parsing.trust-mount" -}}
{{- if .Values.trust.publicKey }}
- {name: trust, mountPath: /etc/reviews-parsing-trust, readOnly: true}
{{- end }}
{{- end }}
{{- define "reviews-parsing.trust-volume" -}}
{{- if .Values.trust.publicKey }}
- name: trust
  configMap: {name: {{ .Values.name }}-trust}
{{- end }}
{{- end }}

{{/* Repositories of this chart's images, and the further allowed ones, as JSON. */}}
{{- define "reviews-parsing.repositories" -}}
{{- $repositories := list .Values.image.repository -}}
{{- if or .Values.page.enabled .Values.report.enabled }}{{ $repositories = append $repositories .Values.tools.image.repository }}{{ end -}}
{{- if .Values.retrain.enabled }}{{ $repositories = append $repositories .Values.retrain.image.repository }}{{ end -}}
{{- toJson $repositories -}}
{{- end }}

{{/* Pods by namespace and labels, or addresses outside the cluster, as a network policy's peer. */}}
{{- define "reviews-parsing.peer" -}}
{{- if .cidr }}
- ipBlock: {cidr: {{ .cidr }}}
{{- else }}
- namespaceSelector:
    matchLabels: {kubernetes.io/metadata.name: {{ .namespace }}}
  podSelector:
    matchLabels: {{- toYaml .podLabels | nindent 6 }}
{{- end }}
{{- end }}

{{/* Queries of DNS, as a network policy's rule of egress. */}}
{{- define "reviews-parsing.dns" -}}
- to:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: {{ .Values.network.dns.namespace }}}
      podSelector:
        matchExpressions:
          - {key: k8s-app, operator: In, values: {{ toJson .Values.network.dns.apps }}}
    {{- range .Values.network.dns.addresses }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}

{{/* Page, report and retraining: common fields of the pod. */}}
{{- define "reviews-parsing.tool-pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Page, report and retraining: common fields of the container; (list ROOT RESOURCES IMAGE). */}}
{{- define "reviews-parsing.tool-container" -}}
image: {{ include "reviews-parsing.image" (list (first .) (last .)) }}
imagePullPolicy: IfNotPresent
resources: {{- toYaml (index . 1) | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}
