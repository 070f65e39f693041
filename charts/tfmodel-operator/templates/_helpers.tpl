{{- define "tfmodel-operator.name" -}}
{{- if contains "tfmodel-operator" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-tfmodel-operator" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "tfmodel-operator.selector" -}}
app.kubernetes.io/name: tfmodel-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tfmodel-operator.labels" -}}
{{ include "tfmodel-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "tfmodel-operator.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* What the operator may do, and nothing beside it: no verb on Secrets, no writes outside its own kinds. */}}
{{- define "tfmodel-operator.rules" -}}
- apiGroups: [serving.tfmodel.dev]
  resources: [tfmodels, tfmodelservers]
  verbs: [get, list, watch]
- apiGroups: [serving.tfmodel.dev]
  resources: [tfmodels/status, tfmodelservers/status]
  verbs: [patch]
# Owner references that block deletion need it where the OwnerReferencesPermissionEnforcement admission plugin runs.
- apiGroups: [serving.tfmodel.dev]
  resources: [tfmodels/finalizers, tfmodelservers/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [configmaps, services]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
# Whether the claim of a model that joins a server exists, before pods are made that want it.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
